//! Where webhooks may go, in every spelling of an address.

use super::*;

const GUARDED: WebhookSettings = WebhookSettings {
    allow_private_targets: false,
};
const OPEN: WebhookSettings = WebhookSettings {
    allow_private_targets: true,
};

fn blocked(text: &str) -> Option<BlockedTarget> {
    match check_target(text, &GUARDED) {
        Ok(_) => None,
        Err(ControlError::BlockedTarget { source, .. }) => Some(source),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn public_https_addresses_are_allowed() {
    for text in [
        "https://example.com/hook",
        "https://example.com:8443/hook?a=b",
        "https://93.184.216.34/",
        "https://[2606:2800:220:1:248:1893:25c8:1946]/",
    ] {
        assert_eq!(blocked(text), None, "{text}");
    }
}

#[test]
fn the_own_machine_and_network_cannot_be_reached_in_any_spelling() {
    // What must never change: no address of a receiver leads into the network that the platform runs in.
    for text in [
        "https://127.0.0.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://017700000001/",
        "https://127.1/",
        "https://0.0.0.0/",
        "https://10.1.2.3/",
        "https://172.31.255.255/",
        "https://192.168.0.1/",
        "https://169.254.169.254/latest/meta-data/",
        "https://100.64.0.1/",
        "https://192.0.0.8/",
        "https://198.19.0.1/",
        "https://224.0.0.1/",
        "https://255.255.255.255/",
        "https://[::1]/",
        "https://[::]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::ffff:a9fe:a9fe]/",
        "https://[fe80::1]/",
        "https://[fd00:ec2::254]/",
        "https://[ff02::1]/",
        "https://[2001:db8::1]/",
        "https://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/",
        "https://[2002:7f00:1::]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[100::1]/",
        "https://[3fff::1]/",
    ] {
        assert!(
            matches!(blocked(text), Some(BlockedTarget::Private { .. })),
            "{text}: {:?}",
            blocked(text)
        );
    }
}

#[test]
fn other_schemes_ports_and_credentials_are_refused() {
    assert!(matches!(
        blocked("http://example.com/"),
        Some(BlockedTarget::Scheme { .. })
    ));
    assert!(matches!(
        blocked("ftp://example.com/"),
        Some(BlockedTarget::Scheme { .. })
    ));
    assert_eq!(
        blocked("https://example.com:22/"),
        Some(BlockedTarget::Port { port: 22 })
    );
    assert_eq!(
        blocked("https://user:secret@example.com/"),
        Some(BlockedTarget::Credentials)
    );
    for text in ["", "example.com", "https://", "mailto:a@example.com"] {
        assert_eq!(blocked(text), Some(BlockedTarget::NotAUrl), "{text}");
    }
    let error = check_target("https://user:secret@example.com/path", &GUARDED).unwrap_err();
    assert!(!format!("{error:?} {error}").contains("secret"), "{error:?}");
}

#[test]
fn a_laptop_may_allow_its_own_addresses() {
    assert!(check_target("http://127.0.0.1:9000/hook", &OPEN).is_ok());
    assert!(check_target("ftp://127.0.0.1/", &OPEN).is_err());
    assert!(check_target("http://user:secret@127.0.0.1/", &OPEN).is_err());
}

#[test]
fn names_lose_their_private_addresses_when_they_are_resolved() {
    let found = [
        "127.0.0.1:0",
        "93.184.216.34:0",
        "[::1]:0",
        "[2606:2800:220::1]:0",
    ]
    .map(|text| text.parse().unwrap());
    let kept: Vec<String> = allowed(found.into_iter(), GUARDED)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(kept, ["93.184.216.34:0", "[2606:2800:220::1]:0"]);
    assert_eq!(allowed(found.into_iter(), OPEN).len(), 4);
}

#[tokio::test]
async fn a_name_of_the_own_machine_does_not_resolve() {
    let name = || "localhost".parse::<Name>().unwrap();
    let refused = GuardedResolver { settings: GUARDED }.resolve(name()).await;
    let error = refused.err().unwrap();
    assert_eq!(error.to_string(), NoPublicAddress.to_string());
    assert!(GuardedResolver { settings: OPEN }.resolve(name()).await.is_ok());
}
