//! Who starts when, over splits and merges.

use super::*;

fn shard(id: &str, parents: &[&str], open: bool) -> ShardInfo {
    ShardInfo {
        id: id.into(),
        parents: parents.iter().map(|&parent| parent.into()).collect(),
        hash_keys: None,
        open,
    }
}

/// Shard `a` was split into `b` and `c`, which were merged into `d`.
fn family() -> Vec<ShardInfo> {
    vec![
        shard("a", &[], false),
        shard("b", &["a"], false),
        shard("c", &["a"], false),
        shard("d", &["b", "c"], true),
    ]
}

fn lineage(positions: &[(&str, Position)], start_at: StartAt) -> Lineage {
    let positions = positions
        .iter()
        .map(|(id, position)| ((*id).to_owned(), position.clone()));
    let mut lineage = Lineage::new(positions.collect(), start_at, OwnedShards::All);
    lineage.learn(family());
    lineage
}

fn at(sequence: &str) -> Position {
    Position::Sequence {
        sequence: sequence.into(),
        sub_sequence: 0,
    }
}

fn started(lineage: &mut Lineage) -> Vec<(String, TakeUp)> {
    lineage
        .take_startable()
        .into_iter()
        .map(|(shard, take_up)| (shard.id, take_up))
        .collect()
}

fn beginning(ids: &[&str]) -> Vec<(String, TakeUp)> {
    ids.iter().map(|&id| (id.to_owned(), TakeUp::Beginning)).collect()
}

#[test]
fn children_wait_for_every_parent() {
    // What must never change: a record never overtakes an earlier one of its key by way of a new shard.
    let mut lineage = lineage(&[], StartAt::TrimHorizon);
    assert_eq!(started(&mut lineage), beginning(&["a"]));
    lineage.learn(family());
    assert_eq!(started(&mut lineage), []);
    lineage.end("a");
    assert_eq!(started(&mut lineage), beginning(&["b", "c"]));
    lineage.end("c");
    assert_eq!(started(&mut lineage), []);
    lineage.end("b");
    assert_eq!(started(&mut lineage), beginning(&["d"]));
    lineage.learn(vec![shard("e", &["d"], true)]);
    lineage.end("d");
    assert_eq!(started(&mut lineage), beginning(&["e"]));
}

#[test]
fn committed_positions_are_taken_up() {
    let mut lineage = lineage(
        &[("a", Position::End), ("b", at("7")), ("c", Position::End)],
        StartAt::TrimHorizon,
    );
    assert_eq!(started(&mut lineage), [("b".to_owned(), TakeUp::After(at("7")))]);
    lineage.end("b");
    assert_eq!(started(&mut lineage), beginning(&["d"]));
}

#[test]
fn a_parent_that_left_the_list_holds_nothing_back() {
    let mut lineage = Lineage::new(BTreeMap::new(), StartAt::TrimHorizon, OwnedShards::All);
    lineage.learn(vec![shard("d", &["b", "c"], true)]);
    assert_eq!(started(&mut lineage), beginning(&["d"]));
}

#[test]
fn a_shard_that_was_read_is_ended_before_its_children_though_it_left_the_list() {
    let positions = BTreeMap::from([("b".to_owned(), at("7"))]);
    let mut lineage = Lineage::new(positions, StartAt::TrimHorizon, OwnedShards::All);
    lineage.learn(vec![shard("d", &["b", "c"], true)]);
    assert_eq!(started(&mut lineage), [("b".to_owned(), TakeUp::After(at("7")))]);
    lineage.end("b");
    assert_eq!(started(&mut lineage), beginning(&["d"]));
}

#[test]
fn the_latest_is_asked_for_once_and_children_are_read_whole() {
    // What must never change: a reader that starts at the latest has no gap at a later split.
    let mut fresh = lineage(&[], StartAt::Latest);
    assert_eq!(started(&mut fresh), [("d".to_owned(), TakeUp::Latest)]);
    fresh.learn([family(), vec![shard("e", &["d"], true)]].concat());
    assert_eq!(started(&mut fresh), []);
    fresh.end("d");
    assert_eq!(started(&mut fresh), beginning(&["e"]));
    // Read before, and split and merged while nobody read.
    let mut again = lineage(&[("a", at("7"))], StartAt::Latest);
    assert_eq!(started(&mut again), [("a".to_owned(), TakeUp::After(at("7")))]);
    again.end("a");
    assert_eq!(started(&mut again), beginning(&["b", "c"]));
}

#[test]
fn others_shards_end_by_their_commits() {
    let only = OwnedShards::Only(BTreeSet::from(["b".to_owned(), "d".to_owned()]));
    let mut lineage = Lineage::new(BTreeMap::new(), StartAt::TrimHorizon, only);
    lineage.learn(family());
    assert_eq!(started(&mut lineage), []);
    lineage.end("a");
    assert_eq!(started(&mut lineage), beginning(&["b"]));
    lineage.end("b");
    assert_eq!(started(&mut lineage), []);
    lineage.end("c");
    assert_eq!(started(&mut lineage), beginning(&["d"]));
}

#[test]
fn a_list_of_two_times_is_noticed() {
    let ranged = |start: u128, end: u128, open: bool| ShardInfo {
        hash_keys: Some(start..=end),
        ..shard("x", &[], open)
    };
    let most = u128::MAX;
    assert_eq!(misplaced_hash_key(&[]), None);
    assert_eq!(misplaced_hash_key(&[ranged(0, most, true)]), None);
    assert_eq!(
        misplaced_hash_key(&[ranged(10, most, true), ranged(0, 9, true), ranged(0, most, false)]),
        None
    );
    assert_eq!(
        misplaced_hash_key(&[ranged(0, 8, true), ranged(10, most, true)]),
        Some(9)
    );
    assert_eq!(misplaced_hash_key(&[ranged(0, 9, true)]), Some(10));
    assert_eq!(
        misplaced_hash_key(&[ranged(0, most, true), ranged(5, 9, true)]),
        Some(5)
    );
    assert_eq!(misplaced_hash_key(&[ranged(0, most, false)]), Some(0));
}
