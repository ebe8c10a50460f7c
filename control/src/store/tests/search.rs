//! Searches by several words, in whatever order and however common each is.

use super::*;

on_both_stores! {
    a_search_finds_what_each_of_its_words_begins_a_word_of,
}

async fn a_search_finds_what_each_of_its_words_begins_a_word_of() {
    // What must never change: which word is looked up first never shows in what is found.
    let (_place, store) = open().await;
    let names = [
        ("a", "Checkout page, blue"),
        ("b", "Checkout page, red"),
        ("c", "Checkout"),
        ("d", "Red pages of the checkbook"),
        ("e", "Réd Straße 77"),
    ];
    for (key, name) in names {
        let mut made = metric(key);
        made.name = name.to_owned();
        store.create(&made, &anna(0)).await.unwrap();
    }
    // Of another kind, with the same words.
    store.create(&flag(), &anna(0)).await.unwrap();
    let find = async |search: &str, after: Option<&str>| {
        let filter = ListFilter {
            search: Some(search.to_owned()),
            ..ListFilter::default()
        };
        let request = PageRequest {
            after: after.map(str::to_owned),
            limit: 2,
        };
        let page = store.find::<MetricDefinition>(&filter, &request).await.unwrap();
        let keys = page.items.iter().map(|found| found.definition.key.to_string());
        keys.collect::<Vec<_>>().join("")
    };
    for (search, found) in [
        ("check", "ab"),
        ("check page", "ab"),
        ("page check", "ab"),
        ("red check", "bd"),
        ("check red", "bd"),
        ("pa re ch", "bd"),
        ("checkout red page", "b"),
        ("checkout checkout", "ab"),
        ("straße 7", "e"),
        ("heckout page", ""),
        ("checkout none", ""),
        ("none checkout", ""),
        (" ,; ", "ab"),
    ] {
        assert_eq!(find(search, None).await, found, "{search}");
    }
    assert_eq!(find("check page", Some("b")).await, "d");
    let many = vec!["c"; 100].join(" ");
    assert_eq!(find(&many, None).await, "ab");
}
