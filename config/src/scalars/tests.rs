//! Does every scalar read what it writes, and refuse the rest?

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use proptest::prelude::*;
use regex::Regex;

use super::*;
use crate::model::{HostPattern, Locality, Name, Network, PeerIdentity, SpiffeId, Store};

/// What is written is read as the same value, and fits the published pattern.
fn round_trip<T: Scalar + PartialEq + fmt::Debug>(value: &T, text: &str) {
    assert_eq!(T::parse(text).as_ref(), Ok(value), "{text}");
    assert!(Regex::new(T::PATTERN).unwrap().is_match(text), "{text} against {}", T::PATTERN);
}

fn help<T: Scalar + fmt::Debug>(text: &str) -> String {
    T::parse(text).expect_err(text).to_string()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn durations_round_trip(millis in 1_u64..359_996_400_000) {
        let text = NonZeroDuration::format(Duration::from_millis(millis));
        let duration = NonZeroDuration::parse(&text).unwrap();
        prop_assert_eq!(Duration::from(duration), Duration::from_millis(millis));
        round_trip(&duration, &text);
    }

    #[test]
    fn se_1_spiffe_ids_round_trip(domain in "[a-z0-9._-]{1,40}", path in "(/[A-Za-z0-9_-][A-Za-z0-9._-]{0,10}){1,4}") {
        let text = format!("spiffe://{domain}{path}");
        let id = SpiffeId::parse(&text).unwrap();
        prop_assert_eq!((id.as_str(), id.trust_domain(), id.path()), (&*text, &*domain, &*path));
        round_trip(&id, &text);
        round_trip(&PeerIdentity::Spiffe(id), &text);
    }

    /// Equal text is equal identity: no other spelling of an id is one.
    #[test]
    fn se_1_an_id_has_one_spelling(path in "[a-z]{1,8}/[a-z]{1,8}", at in 0_usize..17, put in "[^a-z0-9._-]") {
        let mut text = format!("spiffe://simplebank/{path}");
        // Behind the scheme; a slash within the path makes another id, and two make none.
        text.insert_str("spiffe://".len() + at.min(10), &put);
        prop_assert!(put == "/" && at > 0 && at < 10 || SpiffeId::parse(&text).is_err(), "{}", text);
    }

    #[test]
    fn percentages_round_trip(thousandths in 0_u32..=100_000) {
        let percent = Percent::from_share(f64::from(thousandths) / 100_000.0);
        round_trip(&percent, &percent.to_string());
        prop_assert_eq!(Percent::from_share(percent.share()), percent);
    }

    #[test]
    fn sizes_round_trip(bytes in 0_u64..9_999_999_999) {
        for bytes in [bytes, bytes << 10, bytes << 20] {
            round_trip(&Size::from_bytes(bytes), &Size::from_bytes(bytes).to_string());
        }
    }

    #[test]
    fn rates_round_trip(thousandths in 0_u32..1_000_000_000) {
        let rate = Rate::from_per_second(f64::from(thousandths) / 1000.0);
        round_trip(&rate, &rate.to_string());
    }

    #[test]
    fn networks_round_trip_and_end_with_their_prefix(bits in any::<u128>(), prefix in 0_u8..=128, v4 in any::<bool>()) {
        let (prefix, address): (u8, IpAddr) = if v4 {
            (prefix % 33, Ipv4Addr::from_bits(u32::try_from(bits >> 96).unwrap()).into())
        } else {
            (prefix, Ipv6Addr::from_bits(bits).into())
        };
        let network = Network { address: Network { address, prefix }.first(), prefix };
        round_trip(&network, &network.to_string());
        prop_assert!(network.contains(address));
        if prefix > 0 {
            let outside = match address {
                IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() ^ (1 << (32 - prefix))).into(),
                IpAddr::V6(ip) => IpAddr::from(Ipv6Addr::from_bits(ip.to_bits() ^ (1 << (128 - u32::from(prefix))))),
            };
            prop_assert!(!network.contains(outside));
        }
    }

    #[test]
    fn stores_round_trip(name in "[a-z]{1,9}", v6 in any::<u128>(), port in 1_u16.., database in any::<u16>()) {
        for host in [name, Ipv6Addr::from_bits(v6).to_string()] {
            let store = Store { host, port, database };
            round_trip(&store, &store.to_string());
        }
    }

    #[test]
    fn localities_are_what_their_pattern_says(text in "[a-z0-9/_. -]{0,70}") {
        let expected = Regex::new(Locality::PATTERN).unwrap().is_match(&text);
        prop_assert_eq!(Locality::parse(&text).is_ok(), expected);
    }

    #[test]
    fn names_are_what_their_pattern_says(text in "[a-zA-Z0-9._-]{0,65}") {
        let expected = Regex::new(Name::PATTERN).unwrap().is_match(&text);
        prop_assert_eq!(Name::parse(&text).is_ok(), expected);
    }

    #[test]
    fn durations_are_what_gep_2257_says(text in "[0-9hms.]{0,12}") {
        let pattern = Regex::new(NonZeroDuration::PATTERN).unwrap();
        let zero = Regex::new("^(0+(h|m|s|ms))+$").unwrap();
        let expected = pattern.is_match(&text) && !zero.is_match(&text);
        prop_assert_eq!(NonZeroDuration::parse(&text).is_ok(), expected, "{}", text);
    }

    #[test]
    fn hosts_round_trip(text in "([*][.])?[a-z0-9]{1,9}([.][a-z0-9]{1,9}){0,3}") {
        let pattern = HostPattern::parse(&text).unwrap();
        round_trip(&pattern, &pattern.to_string());
    }

    #[test]
    fn no_text_panics(text in "\\PC*") {
        let _ = (NonZeroDuration::parse(&text), Percent::parse(&text), Size::parse(&text), Rate::parse(&text));
        let _ = (Name::parse(&text), HostPattern::parse(&text), Host::parse(&text));
        let _ = (Destination::parse(&text), ListenAddress::parse(&text));
    }
}

#[test]
fn cf_2_a_number_without_a_unit_is_asked_which_one() {
    assert_eq!(help::<NonZeroDuration>("500"), "`500` has no unit; write `500ms` or `500s`?");
    assert_eq!(help::<Size>("64"), "`64` has no unit; write `64B` or `64KiB`?");
    assert_eq!(help::<Rate>("10"), "`10` has no unit; write `10/s`?");
    assert_eq!(help::<Percent>("20"), "`20` has no unit; write `20%`?");
    assert_eq!(Percent::with_unit("0.25").as_deref(), Some("write `25%`?"));
}

#[test]
fn hosts_are_lower_case_and_lose_the_dot_of_the_root() {
    assert_eq!(
        HostPattern::parse("Market-Data.Internal."),
        Ok(HostPattern::Exact("market-data.internal".into()))
    );
    assert_eq!(HostPattern::parse("*.Internal"), Ok(HostPattern::Suffix(".internal".into())));
    assert_eq!(HostPattern::parse("*"), Ok(HostPattern::Any));
    for wrong in ["", ".", "a..b", "*a", "a.*", "*.*.b", "-a", "a b", "a/b", "a:80"] {
        assert!(HostPattern::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn addresses_are_numeric_and_a_destination_can_be_reached() {
    assert!(ListenAddress::parse("0.0.0.0:0").is_ok());
    assert!(ListenAddress::parse("[::]:15020").is_ok());
    assert!(Destination::parse("[::1]:8081").is_ok());
    for wrong in ["0.0.0.0:80", "127.0.0.1:0", "127.0.0.1", "::1", "localhost:80", "127.0.0.1:65536", "[::1]"]
    {
        assert!(Destination::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn se_1_what_is_no_spiffe_id_is_refused_with_its_reason() {
    let long =
        |length: usize| format!("spiffe://simplebank/{}", "a".repeat(length - "spiffe://simplebank/".len()));
    assert!(SpiffeId::parse(&long(2048)).is_ok());
    let domain = |length: usize| format!("spiffe://{}/a", "d".repeat(length));
    assert!(SpiffeId::parse(&domain(255)).is_ok());
    for (text, reason) in [
        ("https://simplebank/ui", "begins with `spiffe://`"),
        ("SPIFFE://simplebank/ui", "begins with `spiffe://`"),
        ("spiffe:simplebank/ui", "begins with `spiffe://`"),
        (&long(2049), "2048 bytes"),
        (&domain(256), "trust domain"),
        ("spiffe:///ui", "trust domain"),
        ("spiffe://SimpleBank/ui", "trust domain"),
        ("spiffe://simplebank:443/ui", "trust domain"),
        ("spiffe://me@simplebank/ui", "trust domain"),
        ("spiffe://simplebank", "path"),
        ("spiffe://simplebank?a", "trust domain"),
        ("spiffe://simplebank/", "segments"),
        ("spiffe://simplebank/ui/", "segments"),
        ("spiffe://simplebank//ui", "segments"),
        ("spiffe://simplebank/./ui", "segments"),
        ("spiffe://simplebank/ui/..", "segments"),
        ("spiffe://simplebank/%75i", "segments"),
        ("spiffe://simplebank/ui?a=b", "segments"),
        ("spiffe://simplebank/ui#a", "segments"),
        ("spiffe://simplebank/\u{fc}i", "segments"),
    ] {
        let said = help::<SpiffeId>(text);
        assert!(said.contains(reason), "{text}: {said}");
    }
    assert!(SpiffeId::parse("spiffe://simplebank/.../_-.").is_ok(), "three dots are a name");
    round_trip(&PeerIdentity::Dns("ui.internal".into()), "dns:ui.internal");
    for text in ["dns:", "dns:*.internal", "dns:ui:443", "ui.internal", "spiffe:ui"] {
        assert!(PeerIdentity::parse(text).is_err(), "{text}");
    }
}
