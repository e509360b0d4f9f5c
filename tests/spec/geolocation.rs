//! SPEC §1, country of the caller: the address as the last but one that tells it.

use std::sync::Arc;

use proptest::prelude::*;
use sosbridge::config::Country;
use sosbridge::geo::Database;
use sosbridge::node::Input;

use crate::world::mmdb::{self, Shape};
use crate::world::{Toml, World, alice, carrier, nomad, psap};

/// The phones of the tests are at 198.51.100.71 and the next ones.
fn in_country(code: &str) -> Input {
    let bytes = mmdb::write(Shape::MaxMind, &[("198.51.100.0/24", code), ("2001:db8::/32", "GB")]);
    Input::Geography(Some(Arc::new(Database::from_bytes(bytes).unwrap())))
}

/// The nomad has no country of its own, and its resource none for unknown callers.
fn world(toml: &Toml, database: Input) -> World {
    let mut world = World::of(toml);
    world.secrets.clear();
    world.input(database);
    world.register(&nomad());
    world
}

fn source(world: &World) -> Option<String> {
    world.record().country_source.map(Into::into)
}

/// Rules 1.4f, 1.4h.
#[test]
fn the_address_of_the_flow_tells_the_country_where_nothing_else_does() {
    let mut nowhere = World::new();
    nowhere.secrets.clear();
    nowhere.register(&nomad());
    assert_eq!(nowhere.ask(&nomad(), &nomad().invite("sip:911@example.com")).code(), 403);

    let mut world = world(&Toml::default(), in_country("US"));
    let invite = world.dial(&nomad(), "sip:911@example.com");
    let offered = world.take(&psap(), "INVITE");
    let mut call = world.answer(&nomad(), &invite, &psap(), &offered);
    world.hang_up(&mut call);
    assert_eq!(source(&world).as_deref(), Some("geolocation"));
    assert_eq!(world.record().call.country.as_deref(), Some("US"));
}

/// Rules 1.4f, 1.4i.
#[test]
fn precedence_of_what_tells_the_country() {
    let register = crate::world::register(&nomad()).with("X-Country-Code", "US");
    let unknown = Toml::default().resource("unknown_country = \"US\"");
    let pidf = "<presence xmlns=\"urn:ietf:params:xml:ns:pidf\"><civicAddress xmlns=\"urn:ietf:params:xml:ns:pidf:geopriv10:civicAddr\"><country>US</country></civicAddress></presence>";
    // The address says GB; whatever else speaks says US. (header, body, registration, user, resource; who decided)
    let cases = [
        (true, true, true, "header", "US"),
        (false, true, true, "pidf", "US"),
        (false, false, true, "registration", "US"),
        (false, false, false, "geolocation", "GB"),
    ];
    for (header, body, registration, decided, country) in cases {
        let mut world = World::of(&unknown);
        world.secrets.clear();
        world.input(in_country("GB"));
        match registration {
            true => world.register_as(&nomad(), &register),
            false => world.register(&nomad()),
        };
        let mut invite = nomad().invite("sip:911@example.com");
        if header {
            invite = invite.with("X-Country-Code", "US");
        }
        if body {
            let sdp = invite.body.clone();
            let parts = format!(
                "--b\r\nContent-Type: application/sdp\r\n\r\n{sdp}\r\n--b\r\nContent-Type: application/pidf+xml\r\n\r\n{pidf}\r\n--b--\r\n"
            );
            invite = invite.body("multipart/mixed;boundary=b", &parts);
        }
        world.send(&nomad(), &invite);
        assert_eq!(world.ask(&nomad(), &invite.cancel()).code(), 200);
        let record = world.record();
        let told = (record.country_source.as_deref(), record.call.country.as_deref());
        assert_eq!(told, (Some(decided), Some(country)), "{header} {body} {registration}");
    }
    // What the configuration says of a user comes before the address, what it says of unknown callers after it.
    let mut world = World::of(&unknown);
    world.input(in_country("GB"));
    world.register(&alice());
    let (invite, _) = world.dialled();
    assert_eq!(world.ask(&alice(), &invite.cancel()).code(), 200);
    assert_eq!(source(&world).as_deref(), Some("user"));
}

/// Rules 1.4g, 1.4j.
#[test]
fn networks_that_are_not_to_be_believed_tell_nothing() {
    let toml = Toml::default().resource("unknown_country = \"US\"").add("[geo]\nunreliable = [\"198.51.100.72/31\"]\n");
    let mut world = world(&toml, in_country("GB"));
    world.dial(&nomad(), "sip:911@example.com");
    world.take(&psap(), "INVITE");
    assert_eq!(world.node.calls_view(0).rows[0].country.as_deref(), Some("US"));

    // Who wonders why is told that it was this, and not the database.
    let silent = Toml::default().add("[geo]\nunreliable = [\"198.51.100.72/31\"]\n");
    let mut world = self::world(&silent, in_country("GB"));
    assert_eq!(world.ask(&nomad(), &nomad().invite("sip:911@example.com")).code(), 403);
    let decisions = world.record().decisions;
    let why = "Country: the IP address is in a network of [geo] unreliable, and is not asked for it";
    assert!(decisions.iter().any(|decision| decision == why), "{decisions:?}");
}

/// Rules 1.5a, 1.5b.
#[test]
fn territories_count_as_us_and_puerto_rico_for_itself() {
    for (code, country) in [("GU", "US"), ("VI", "US"), ("MP", "US"), ("AS", "US"), ("PR", "PR")] {
        let mut world = world(&Toml::default(), in_country(code));
        world.dial(&nomad(), "sip:911@example.com");
        world.take(&psap(), "INVITE");
        assert_eq!(world.node.calls_view(0).rows[0].country.as_deref(), Some(country));
    }
}

/// Rule 1.6a.
#[test]
fn outside_the_supported_countries_the_call_is_refused() {
    let mut world = world(&Toml::default(), in_country("DE"));
    let refused = world.ask(&nomad(), &nomad().invite("sip:911@example.com"));
    assert_eq!(refused.code(), 403);
    assert!(refused.header("Warning").contains("not available in DE"), "{refused}");
}

#[test]
fn a_header_that_names_another_address_changes_nothing() {
    let mut world = world(&Toml::default(), in_country("GB"));
    let invite =
        nomad().invite("sip:911@example.com").with("X-Forwarded-For", "2.2.2.2").with("P-Visited-Network-ID", "US");
    world.send(&nomad(), &invite);
    world.take(&carrier(), "INVITE");
}

/// Rule 1.4f.
#[test]
fn every_shape_of_database_is_read_and_mapped_addresses_too() {
    for shape in [Shape::MaxMind, Shape::Flat, Shape::Plain] {
        let bytes =
            mmdb::write(shape, &[("192.0.2.0/24", "US"), ("203.0.113.128/25", "DK"), ("2001:db8:5::/48", "GB")]);
        let database = Database::from_bytes(bytes).unwrap();
        let of = |address: &str| database.country(address.parse().unwrap(), &[]).map(|country| country.to_string());
        assert_eq!(of("192.0.2.77").as_deref(), Some("US"), "{shape:?}");
        assert_eq!(of("::ffff:192.0.2.77").as_deref(), Some("US"));
        assert_eq!(of("203.0.113.129").as_deref(), Some("DK"));
        assert_eq!(of("2001:db8:5::1").as_deref(), Some("GB"));
        for nobody in ["203.0.113.1", "127.0.0.1", "10.0.0.1", "::1", "fe80::1"] {
            assert_eq!(of(nobody), None, "{nobody}");
        }
    }
}

proptest! {
    #[test]
    fn a_damaged_database_is_refused_or_tells_less(cut in 0usize..2000, flip in 0usize..2000, to: u8, address: u32) {
        let mut bytes = mmdb::write(Shape::MaxMind, &[("192.0.2.0/24", "US"), ("0.0.0.0/2", "DK"), ("128.0.0.0/1", "GB")]);
        let flip = flip % bytes.len();
        bytes[flip] = to;
        bytes.truncate(cut.max(bytes.len() / 2));
        if let Ok(database) = Database::from_bytes(bytes) {
            let address = std::net::Ipv4Addr::from(address).into();
            let _: Option<Country> = database.country(address, &[]);
            let _ = database.to_string();
        }
    }
}
