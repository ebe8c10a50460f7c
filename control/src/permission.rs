//! Who may do what: one table, and the one function that reads it.
//!
//! Each route names a permission such as `flags:write`. A row of [`TABLE`] says how far that permission reaches for each
//! role and which scopes of a key have it. What stands in no row is allowed to nobody.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::change::Actor;
use crate::store::ObjectKind;

/// What a person is to the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads definitions and results.
    Viewer,
    /// Reads everything and changes nothing.
    Analyst,
    /// Reads everything, makes definitions, and changes its own, those it was granted, and those that nobody owns.
    Developer,
    /// Does everything.
    Admin,
}

impl Role {
    /// Every role, the weakest first.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Analyst, Self::Developer, Self::Admin];

    /// The role as on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Analyst => "analyst",
            Self::Developer => "developer",
            Self::Admin => "admin",
        }
    }

    /// The role of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What a key may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Evaluating flags.
    Evaluate,
    /// Sending events.
    Events,
    /// Reading definitions and results.
    Read,
    /// Everything.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 4] = [Self::Evaluate, Self::Events, Self::Read, Self::Admin];

    /// The scope as on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Evaluate => "evaluate",
            Self::Events => "events",
            Self::Read => "read",
            Self::Admin => "admin",
        }
    }

    /// The scope of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == word)
    }
}

/// How far a permission reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Not at all.
    No,
    /// To what the principal owns, was granted, or nobody owns.
    Own,
    /// To everything.
    All,
}

/// A row of the table.
#[derive(Debug)]
pub struct Permission {
    /// What routes name.
    pub word: &'static str,
    /// Whether it needs no credentials at all.
    pub public: bool,
    /// The reach of each role, in the order of [`Role::ALL`].
    pub roles: [Reach; 4],
    /// The scopes that have it, always with reach to everything.
    pub scopes: &'static [Scope],
    /// Whether it shows what no key may that anybody can read, whatever its scopes.
    pub confidential: bool,
    /// What kind of object the key in the path names, where objects have owners.
    pub owned: Option<ObjectKind>,
}

const NO: Reach = Reach::No;
const OWN: Reach = Reach::Own;
const ALL: Reach = Reach::All;

const fn row(word: &'static str, roles: [Reach; 4], scopes: &'static [Scope]) -> Permission {
    let (public, confidential, owned) = (false, false, None);
    Permission {
        word,
        public,
        roles,
        scopes,
        confidential,
        owned,
    }
}

const fn owned(word: &'static str, kind: ObjectKind) -> Permission {
    let mut permission = row(word, [NO, NO, OWN, ALL], &[Scope::Admin]);
    permission.owned = Some(kind);
    permission
}

const fn public(word: &'static str) -> Permission {
    let mut permission = row(word, [ALL, ALL, ALL, ALL], &Scope::ALL);
    permission.public = true;
    permission
}

/// What a viewer and every reading key see.
const fn read(word: &'static str) -> Permission {
    row(word, [ALL, ALL, ALL, ALL], &[Scope::Read, Scope::Admin])
}

/// What products on servers need to evaluate by themselves. It names users, so keys in browsers do not have it.
const fn confidential(word: &'static str) -> Permission {
    let scopes = &[Scope::Evaluate, Scope::Read, Scope::Admin];
    let mut permission = row(word, [ALL, ALL, ALL, ALL], scopes);
    permission.confidential = true;
    permission
}

/// Every permission. Viewer, analyst, developer, admin; then the scopes of keys.
#[rustfmt::skip]
pub const TABLE: &[Permission] = &[
    public("public"),
    public("session:open"),
    row("session:own",     [ALL, ALL, ALL, ALL], &Scope::ALL),

    row("events:write",    [NO,  NO,  ALL, ALL], &[Scope::Events, Scope::Admin]),
    row("flags:evaluate",  [ALL, ALL, ALL, ALL], &[Scope::Evaluate, Scope::Admin]),
    confidential("ruleset:read"),

    read("experiments:read"),
    read("metrics:read"),
    read("flags:read"),
    read("results:read"),
    read("safety:read"),
    read("segments:read"),
    read("layers:read"),
    read("holdouts:read"),
    read("environments:read"),
    read("dimensions:read"),
    read("projects:read"),
    read("tags:read"),
    read("rollouts:read"),

    owned("experiments:write", ObjectKind::Experiment),
    owned("experiments:share", ObjectKind::Experiment),
    // A copy belongs to whoever makes it, whoever owns the original.
    row("experiments:clone", [NO, NO, ALL, ALL], &[Scope::Admin]),
    owned("metrics:write", ObjectKind::Metric),
    owned("metrics:share", ObjectKind::Metric),
    owned("flags:write", ObjectKind::Flag),
    owned("flags:share", ObjectKind::Flag),
    owned("segments:write", ObjectKind::Segment),
    owned("segments:share", ObjectKind::Segment),
    owned("layers:write", ObjectKind::Layer),
    owned("layers:share", ObjectKind::Layer),
    owned("holdouts:write", ObjectKind::Holdout),
    owned("holdouts:share", ObjectKind::Holdout),
    owned("environments:write", ObjectKind::Environment),
    owned("environments:share", ObjectKind::Environment),
    owned("dimensions:write", ObjectKind::Dimension),
    owned("dimensions:share", ObjectKind::Dimension),
    owned("projects:write", ObjectKind::Project),
    owned("projects:share", ObjectKind::Project),
    owned("tags:write", ObjectKind::Tag),
    owned("tags:share", ObjectKind::Tag),
    // What a schedule does, it does to its flag: whoever acts on it needs both.
    owned("rollouts:write", ObjectKind::RolloutSchedule),
    owned("rollouts:share", ObjectKind::RolloutSchedule),
    owned("safety:write", ObjectKind::Guardrail),
    owned("safety:share", ObjectKind::Guardrail),
    // These settings hold for every flag.
    row("safety:configure", [NO, NO,  NO,  ALL], &[Scope::Admin]),
    // Back to what is safe is for every developer, whoever owns the flag: harm does not wait for its owner.
    row("safety:rollback", [NO,  NO,  ALL, ALL], &[Scope::Admin]),

    row("webhooks:read",   [NO,  ALL, ALL, ALL], &[Scope::Admin]),
    row("webhooks:write",  [NO,  NO,  NO,  ALL], &[Scope::Admin]),
    row("audit:read",      [NO,  ALL, ALL, ALL], &[Scope::Admin]),
    row("users:read",      [NO,  ALL, ALL, ALL], &[Scope::Admin]),
    row("users:write",     [NO,  NO,  NO,  ALL], &[Scope::Admin]),
    row("keys:read",       [NO,  ALL, ALL, ALL], &[Scope::Admin]),
    row("keys:write",      [NO,  NO,  NO,  ALL], &[Scope::Admin]),
    // What single users did is for administrators; that it is held no more, without a name, for everybody who reads.
    row("user-data:read",  [NO,  ALL, ALL, ALL], &[Scope::Admin]),
    row("user-data:export", [NO, NO,  NO,  ALL], &[Scope::Admin]),
    row("user-data:erase", [NO,  NO,  NO,  ALL], &[Scope::Admin]),
];

/// The row of a permission.
pub fn permission(word: &str) -> Option<&'static Permission> {
    TABLE.iter().find(|permission| permission.word == word)
}

/// What a principal may do at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authority {
    /// Nobody said who they are.
    Nobody,
    /// A person in a role.
    Role(Role),
    /// A key with scopes.
    Key {
        /// The bits of its scopes.
        scopes: u8,
        /// Whether nobody but its user can read it.
        secret: bool,
    },
}

impl Authority {
    /// The authority of a key that only its user knows.
    pub fn secret_key(scopes: &[Scope]) -> Self {
        Self::key(scopes, true)
    }

    /// The authority of a key that anybody can read out of a page or an app.
    pub fn client_key(scopes: &[Scope]) -> Self {
        Self::key(scopes, false)
    }

    fn key(scopes: &[Scope], secret: bool) -> Self {
        let scopes = scopes.iter().fold(0, |bits, scope| bits | scope_bit(*scope));
        Self::Key { scopes, secret }
    }
}

const fn scope_bit(scope: Scope) -> u8 {
    1 << scope as u8
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The name that audit records carry.
    pub actor: Actor,
    /// What they may at most.
    pub authority: Authority,
    /// The one environment that they may see, when they are bound to one.
    pub environment: Option<std::sync::Arc<str>>,
}

impl Principal {
    /// Nobody in particular.
    pub fn nobody() -> Self {
        Self {
            actor: Actor::nobody(),
            authority: Authority::Nobody,
            environment: None,
        }
    }

    /// Whoever sits at the machine, while nobody has to log in.
    pub fn local() -> Self {
        Self::person(Actor::local(), Role::Admin)
    }

    /// A person in a role.
    pub fn person(actor: Actor, role: Role) -> Self {
        Self {
            actor,
            authority: Authority::Role(role),
            environment: None,
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resource<'r> {
    /// Who owns the object; absent for a new one, a whole collection, and what belongs to nobody.
    pub owner: Option<&'r Actor>,
    /// Who else may change the object.
    pub editors: &'r [Actor],
    /// The environment that is asked for, when one is named.
    pub environment: Option<&'r str>,
}

/// Why something is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// Nobody said who they are.
    Unauthenticated,
    /// The role or key does not have the permission.
    Forbidden,
    /// The object belongs to somebody else.
    NotOwner,
    /// The key is bound to another environment.
    OtherEnvironment,
}

/// Whether `principal` may do `action` to `resource`. Anything that the table does not allow is denied.
///
/// # Errors
/// [`Denied`] says why not.
pub fn authorize(principal: &Principal, action: &str, resource: Resource<'_>) -> Result<(), Denied> {
    authorize_by(permission(action).ok_or(Denied::Forbidden)?, principal, resource)
}

/// Whether a row of the table allows `principal` to do to `resource` what it is about.
///
/// # Errors
/// As [`authorize`].
pub fn authorize_by(row: &Permission, principal: &Principal, resource: Resource<'_>) -> Result<(), Denied> {
    if row.public {
        return Ok(());
    }
    let bound = principal.environment.as_deref();
    if bound.is_some_and(|bound| resource.environment.is_some_and(|asked| asked != bound)) {
        return Err(Denied::OtherEnvironment);
    }
    match reach(principal.authority, row)? {
        Reach::All => Ok(()),
        Reach::No => Err(Denied::Forbidden),
        Reach::Own => {
            let is_owner = resource.owner.is_none_or(|owner| *owner == principal.actor);
            let is_editor = resource.editors.contains(&principal.actor);
            if is_owner || is_editor {
                Ok(())
            } else {
                Err(Denied::NotOwner)
            }
        }
    }
}

fn reach(authority: Authority, row: &Permission) -> Result<Reach, Denied> {
    match authority {
        Authority::Nobody => Err(Denied::Unauthenticated),
        Authority::Role(role) => Ok(row.roles[role as usize]),
        Authority::Key { scopes, secret } => {
            let has = row.scopes.iter().any(|scope| scopes & scope_bit(*scope) != 0);
            let shown = secret || !row.confidential;
            Ok(if has && shown { Reach::All } else { Reach::No })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(name: &str, role: Role) -> Principal {
        Principal::person(Actor::person(name), role)
    }

    fn key(authority: Authority, environment: Option<&str>) -> Principal {
        Principal {
            actor: Actor::key("k"),
            authority,
            environment: environment.map(Into::into),
        }
    }

    #[test]
    fn an_analyst_reads_everything_and_changes_nothing() {
        // What must never change: whoever may only look cannot leave a mark.
        for row in TABLE
            .iter()
            .filter(|row| !row.public && row.word != "session:own")
        {
            let reads = row.word.ends_with(":read") || row.word == "flags:evaluate";
            let allowed = authorize(&person("ana", Role::Analyst), row.word, Resource::default());
            assert_eq!(allowed.is_ok(), reads, "{}", row.word);
        }
    }

    #[test]
    fn an_admin_may_everything_and_a_stronger_role_no_less_than_a_weaker() {
        for row in TABLE {
            assert_eq!(row.roles[Role::Admin as usize], Reach::All, "{}", row.word);
            let reaches = row.roles.map(|reach| reach as u8);
            assert!(reaches.is_sorted(), "{}", row.word);
            assert!(row.scopes.contains(&Scope::Admin), "{}", row.word);
        }
    }

    #[test]
    fn words_stand_once() {
        let words: std::collections::BTreeSet<_> = TABLE.iter().map(|row| row.word).collect();
        assert_eq!(words.len(), TABLE.len());
    }

    #[test]
    fn what_is_in_no_row_is_denied_even_to_an_admin() {
        let denied = authorize(&Principal::local(), "moon:write", Resource::default());
        assert_eq!(denied, Err(Denied::Forbidden));
    }

    #[test]
    fn a_developer_changes_what_is_theirs_shared_with_them_or_nobodys() {
        let (anna, ben) = (Actor::person("anna"), Actor::person("ben"));
        let developer = person("ben", Role::Developer);
        let check = |owner: Option<&Actor>, editors: &[Actor]| {
            let resource = Resource {
                owner,
                editors,
                environment: None,
            };
            authorize(&developer, "experiments:write", resource)
        };
        assert_eq!(check(None, &[]), Ok(()));
        assert_eq!(check(Some(&ben), &[]), Ok(()));
        assert_eq!(check(Some(&anna), &[]), Err(Denied::NotOwner));
        assert_eq!(check(Some(&anna), std::slice::from_ref(&ben)), Ok(()));
        assert_eq!(
            check(Some(&anna), &[Actor::person("carl")]),
            Err(Denied::NotOwner)
        );
    }

    #[test]
    fn a_client_key_evaluates_and_sends_events_in_its_environment_and_nothing_else() {
        let scopes = [Scope::Evaluate, Scope::Events];
        let client = key(Authority::client_key(&scopes), Some("production"));
        for row in TABLE
            .iter()
            .filter(|row| !row.public && row.word != "session:own")
        {
            let may = ["flags:evaluate", "events:write"].contains(&row.word);
            assert_eq!(
                authorize(&client, row.word, Resource::default()).is_ok(),
                may,
                "{}",
                row.word
            );
        }
        let asked = |environment: &'static str| Resource {
            environment: Some(environment),
            ..Resource::default()
        };
        assert_eq!(authorize(&client, "flags:evaluate", asked("production")), Ok(()));
        let elsewhere = authorize(&client, "flags:evaluate", asked("staging"));
        assert_eq!(elsewhere, Err(Denied::OtherEnvironment));
    }

    #[test]
    fn a_key_that_anybody_can_read_does_not_get_what_names_users() {
        // What must never change: the rules, which name users, leave for servers only.
        let scopes = [Scope::Evaluate];
        let may = |authority| authorize(&key(authority, None), "ruleset:read", Resource::default());
        assert_eq!(may(Authority::secret_key(&scopes)), Ok(()));
        assert_eq!(may(Authority::client_key(&scopes)), Err(Denied::Forbidden));
        assert_eq!(
            may(Authority::secret_key(&[Scope::Events])),
            Err(Denied::Forbidden)
        );
    }

    #[test]
    fn without_credentials_only_what_is_public_is_allowed() {
        for row in TABLE {
            let answer = authorize(&Principal::nobody(), row.word, Resource::default());
            let expected = if row.public {
                Ok(())
            } else {
                Err(Denied::Unauthenticated)
            };
            assert_eq!(answer, expected, "{}", row.word);
        }
    }
}
