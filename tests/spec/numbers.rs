//! SPEC §1: spellings, countries and what tells them.

use crate::world::{Agent, Msg, Toml, World, alice, carrier, nomad, psap, register};
use sosbridge::admin::Record;

/// Cancels a call and gives its record.
pub fn ended(world: &mut World, agent: &Agent, invite: &Msg) -> Record {
    world.send(agent, &invite.cancel());
    let refused = world.take(agent, "487");
    world.send(agent, &invite.ack_of(&refused));
    world.record()
}

pub fn location(country: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?>\r\n<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" xmlns:gp=\"urn:ietf:params:xml:ns:pidf:geopriv10\" \
         xmlns:cl=\"urn:ietf:params:xml:ns:pidf:geopriv10:civicAddr\" entity=\"pres:caller@invalid\">\r\n<tuple id=\"a\"><status>\
         <gp:geopriv><gp:location-info><cl:civicAddress><cl:country>{country}</cl:country><cl:A3>Anytown</cl:A3></cl:civicAddress>\
         </gp:location-info></gp:geopriv></status></tuple></presence>\r\n"
    )
}

/// A body of two parts: the offer, and a location.
pub fn with_location(invite: Msg, country: &str) -> Msg {
    let offer = invite.body.clone();
    let parts = format!(
        "--here\r\nContent-Type: application/sdp\r\n\r\n{offer}\r\n--here\r\nContent-Type: application/pidf+xml\r\n\
         Content-ID: <place@example.com>\r\n\r\n{}\r\n--here--\r\n",
        location(country)
    );
    invite.body("multipart/mixed;boundary=here", &parts)
}

/// Rules 1.2a, 1.2b, 1.2c, 1.2d, 1.2e, 1.2f, 1.2g, 1.2h, 1.2i, 1.2j, 1.7a.
#[test]
fn every_spelling_of_911_in_the_us() {
    let spellings = [
        "sip:911@example.com",
        "sip:+911@example.com",
        "sip:+1911@example.com",
        "sip:911;phone-context=+1@example.com;user=phone",
        "sip:911;phone-context=example.com@example.com;user=phone",
        "tel:911;phone-context=+1",
        "tel:+1911",
        "sip:9-1-1@example.com",
        "sip:9.1.1@example.com",
        "sip:(9)11@example.com",
        "sip:%39%31%31@example.com",
        "sips:911@example.com",
        "SIP:911@EXAMPLE.COM",
        "sip:911@192.0.2.1:5060;transport=udp",
        "sip:911@some.other.host",
        "sip:9911@example.com",
        "sip:99-11@example.com",
        "urn:service:sos",
        "urn:service:sos.fire",
        "urn:service:sos.never.heard.of",
        "URN:Service:SOS",
        // Numbers of other countries count as one's own.
        "sip:112@example.com",
        "sip:999@example.com",
        "sip:+44999@example.com",
    ];
    for spelling in spellings {
        let mut world = World::of(&Toml::default().resource("outside_line_prefix = \"9\""));
        world.register(&alice());
        world.send(&alice(), &alice().invite(spelling));
        let Some(offered) = world.take_all(&psap(), "INVITE").pop() else {
            panic!("{spelling}: {}", world.wire.last().unwrap().text);
        };
        assert_eq!(offered.msg.uri(), "sip:911@203.0.113.80:5080", "{spelling}");
        let call = &world.node.calls_view(0).rows[0];
        assert_eq!((call.kind.as_str(), call.dialled.as_str()), ("emergency", "911"), "{spelling}");
    }
}

#[test]
fn what_is_no_emergency() {
    for dialled in [
        "91",
        "9112",
        "0911",
        "+9911",
        "9911",
        "911a",
        "a911",
        "+12065550911",
        "112233",
        "933933",
        "+4933",
        "911*",
        "#911",
    ] {
        let mut world = World::with_alice();
        let refused = world.ask(&alice(), &alice().invite(&format!("sip:{dialled}@example.com")));
        assert!(matches!(refused.code(), 403 | 404), "{dialled}: {refused}");
        world.silent();
        assert!(world.node.leases_view(0).rows.is_empty(), "{dialled}");
    }
}

#[test]
fn an_emergency_number_is_matched_before_users() {
    // Whatever host it is dialled at, and also where a user part could name a user.
    let mut world = World::with_alice();
    world.send(&alice(), &alice().invite("sip:911@example.com;user=ip"));
    world.take(&psap(), "INVITE");
}

/// Rule 1.3b.
#[test]
fn no_device_registers_as_an_emergency_number() {
    for user in ["911", "112", "999", "+911", "+1911", "9-1-1", "%39%31%31", "933"] {
        let mut world = World::new();
        let aor = format!("<sip:{user}@example.com>");
        let request = register(&alice()).set("To", &aor).set("From", &format!("{aor};tag=r"));
        let refused = world.ask(&alice(), &request);
        assert_eq!(refused.code(), 403, "{user}");
        assert!(refused.header("Warning").contains("emergency number"), "{refused}");
    }
}

/// Rules 1.1a, 1.1b, 1.1c, 1.5a, 1.5b, 1.7a, 3.1a, 5.1a, 5.1c.
#[test]
fn numbers_of_each_country() {
    // (country, dialled, trunk, request URI)
    let cases = [
        ("US", "911", psap(), "sip:911@203.0.113.80:5080"),
        ("PR", "911", psap(), "sip:911@203.0.113.80:5080"),
        ("CA", "911", psap(), "sip:911@203.0.113.80:5080"),
        ("GB", "999", carrier(), "urn:service:sos"),
        ("GB", "112", carrier(), "urn:service:sos"),
        ("GB", "911", carrier(), "urn:service:sos"),
        ("DK", "112", carrier(), "urn:service:sos"),
        ("DK", "911", carrier(), "urn:service:sos"),
        // Territories.
        ("GU", "911", psap(), "sip:911@203.0.113.80:5080"),
        ("VI", "911", psap(), "sip:911@203.0.113.80:5080"),
        ("MP", "911", psap(), "sip:911@203.0.113.80:5080"),
        ("AS", "911", psap(), "sip:911@203.0.113.80:5080"),
        // As people write it.
        ("us", "911", psap(), "sip:911@203.0.113.80:5080"),
    ];
    for (country, dialled, trunk, uri) in cases {
        let mut world = World::new();
        world.register(&nomad());
        let invite = nomad().invite(&format!("sip:{dialled}@example.com")).with("X-Country-Code", country);
        world.send(&nomad(), &invite);
        assert_eq!(world.take(&trunk, "INVITE").uri(), uri, "{dialled} in {country}");
        let lease = world.node.leases_view(0).rows.remove(0);
        let shown = match country {
            "GU" | "VI" | "MP" | "AS" | "us" => "US",
            other => other,
        };
        assert_eq!(lease.country.as_deref(), Some(shown), "{country}");
        let pool = if trunk.name == "carrier" { "+44" } else { "+1" };
        assert!(lease.number.to_string().starts_with(pool), "{country} was given {}", lease.number);
    }
}

/// Rules 1.4b, 1.4c, 1.4d, 1.4e, 1.4g, 1.4i.
#[test]
fn what_tells_the_country_and_in_which_order() {
    // Each source says a country of its own; the first one present wins.
    let (header, body, registered) = (Some("CA"), Some("PR"), Some("GB"));
    let cases = [
        (header, body, registered, alice(), "header", "CA"),
        (None, body, registered, alice(), "pidf", "PR"),
        (None, None, registered, alice(), "registration", "GB"),
        (None, None, None, alice(), "user", "US"),
        (None, None, None, nomad(), "resource", "DK"),
        (None, None, registered, nomad(), "registration", "GB"),
        (Some("nonsense"), body, None, alice(), "pidf", "PR"),
        (Some(""), None, None, alice(), "user", "US"),
    ];
    for (header, body, registered, agent, source, country) in cases {
        let mut world = World::of(&Toml::default().resource("unknown_country = \"DK\""));
        let request = register(&agent);
        world.register_as(&agent, &registered.map_or(request.clone(), |code| request.with("X-Country-Code", code)));
        let mut invite = agent.invite("sip:112@example.com");
        if let Some(code) = body {
            invite = with_location(invite, code);
        }
        if let Some(code) = header {
            invite = invite.with("X-Country-Code", code);
        }
        world.send(&agent, &invite);
        let record = ended(&mut world, &agent, &invite);
        let told = (record.country_source.as_deref(), record.call.country.as_deref());
        assert_eq!(told, (Some(source), Some(country)), "{header:?} {body:?} {registered:?}");
    }
}

/// Rule 1.4c.
#[test]
fn a_location_alone_is_read_too() {
    let mut world = World::new();
    world.register(&nomad());
    let invite = nomad().request("INVITE", "sip:999@example.com").body("application/pidf+xml", &location("GB"));
    world.send(&nomad(), &invite);
    world.take(&carrier(), "INVITE");
}

/// Rules 1.4h, 1.6a, 1.6b, 1.6d, 1.7b.
#[test]
fn refusals_say_why() {
    let strict = || Toml::default().resource("foreign_numbers = \"reject\"");
    let no_route = || Toml::default().change("countries = [\"GB\", \"DK\"]\ntrunks", "countries = [\"DK\"]\ntrunks");
    // (config, country, dialled, status, words of the Warning)
    let cases: [(Toml, &str, &str, u16, &str); 5] = [
        (Toml::default(), "", "911", 403, "country of the caller is not known"),
        (Toml::default(), "FR", "112", 403, "not available in FR"),
        (Toml::default(), "AU", "911", 403, "not available in AU"),
        (strict(), "GB", "911", 403, "another country"),
        (no_route(), "GB", "999", 503, "No route for 999 in GB"),
    ];
    for (toml, country, dialled, status, why) in cases {
        let mut world = World::of(&toml);
        world.register(&nomad());
        let invite = nomad().invite(&format!("sip:{dialled}@example.com"));
        let invite = if country.is_empty() { invite } else { invite.with("X-Country-Code", country) };
        let refused = world.ask(&nomad(), &invite);
        assert_eq!(refused.code(), status, "{dialled} in {country}");
        let warning = refused.header("Warning");
        assert!(warning.starts_with("399 192.0.2.1 \"") && warning.contains(why), "{warning}");
        world.silent();
        assert_eq!(world.metric("sosbridge_calls_total{kind=\"emergency\",outcome=\"refused\"}"), 1.0);
    }
}

/// Rule 1.6e.
#[test]
fn outside_the_countries_by_best_effort() {
    for country in ["", "FR"] {
        let mut world = World::of(&Toml::default().resource("outside_countries = \"best-effort\""));
        world.register(&nomad());
        let invite = nomad().invite("sip:112@example.com");
        world.send(&nomad(), &if country.is_empty() { invite } else { invite.with("X-Country-Code", country) });
        world.take(&psap(), "INVITE");
    }
}

/// Rule 1.1e.
#[test]
fn a_country_more_is_one_more_row() {
    let australia = "[[countries]]\ncode = \"AU\"\nemergency = [\"000\"]\ndial_code = \"61\"\n\
                     [[routes]]\ncountries = [\"AU\"]\ntrunks = [\"backup\"]\n\
                     [[pools]]\ncountries = [\"AU\"]\nnumbers = [\"+61255500000\"]\n";
    for dialled in ["000", "+61000", "0-0-0"] {
        let mut world = World::of(&Toml::default().add(australia));
        world.register(&nomad());
        let invite = nomad().invite(&format!("sip:{dialled}@example.com")).with("X-Country-Code", "AU");
        world.send(&nomad(), &invite);
        assert_eq!(world.take(&crate::world::backup(), "INVITE").uri(), "sip:000@203.0.113.81:5080");
    }
}
