//! SPEC §4: what the trunk sees.

use crate::numbers::with_location;
use crate::world::{Msg, Toml, World, alice, bob, carrier, description, nomad, psap};

const NUMBER: &str = "+14255551000";

fn offered(world: &mut World, invite: &Msg) -> Msg {
    world.send(&alice(), invite);
    world.take(&psap(), "INVITE")
}

/// Rules 3.1c, 4.1a, 4.1b, 4.1c, 4.1d, 4.1f.
#[test]
fn identities_carry_the_number_and_nothing_else() {
    let mut world = World::with_alice();
    let (_, offered) = world.dialled();
    let from = offered.header("From");
    assert!(from.starts_with(&format!("<sip:{NUMBER}@192.0.2.1;user=phone>;tag=")), "{from}");
    assert_eq!(offered.values("P-Asserted-Identity"), [format!("<sip:{NUMBER}@192.0.2.1;user=phone>")]);
    assert_eq!(offered.values("Contact"), [format!("<sip:{NUMBER}@192.0.2.1:5060>")]);
    assert_eq!(offered.header("To"), "<sip:911@203.0.113.80:5080>");
}

/// Rules 4.1d, 4.1e, 4.4c.
#[test]
fn identity_as_each_trunk_wants_it() {
    let sip = format!("<sip:{NUMBER}@192.0.2.1;user=phone>");
    let tel = format!("<tel:{NUMBER}>");
    for (identity, expected) in [("sip", vec![sip.clone()]), ("tel", vec![tel.clone()]), ("both", vec![sip, tel])] {
        let mut world = World::of(&Toml::default().psap(&format!("identity = \"{identity}\"")));
        world.register(&alice());
        assert_eq!(world.dialled().1.values("P-Asserted-Identity"), expected, "{identity}");
    }
    // A Request-URI that is the service.
    let mut world = World::new();
    world.register(&nomad());
    world.send(&nomad(), &nomad().invite("sip:999@example.com").with("X-Country-Code", "GB"));
    let offered = world.take(&carrier(), "INVITE");
    assert_eq!((offered.uri(), offered.header("To")), ("urn:service:sos", "<urn:service:sos>"));
    assert_eq!(offered.values("P-Asserted-Identity").len(), 2);
}

/// Every header SPEC §4 names, and some it does not: (name, value, passes).
const HEADERS: [(&str, &str, bool); 38] = [
    ("P-Preferred-Identity", "<sip:alice@example.com>", false),
    ("P-Asserted-Identity", "<sip:+14255550123@example.com>", false),
    ("Remote-Party-ID", "<sip:alice@example.com>;party=calling", false),
    ("Diversion", "<sip:boss@example.com>;reason=unconditional", false),
    ("History-Info", "<sip:someone@example.com>;index=1", false),
    ("Identity", "c2lnbmF0dXJl;info=<https://cert.example.org/x>;alg=ES256", false),
    ("Privacy", "id", false),
    ("Authorization", "Digest username=\"carol\", realm=\"else\", nonce=\"x\", uri=\"x\", response=\"x\"", false),
    (
        "Proxy-Authorization",
        "Digest username=\"carol\", realm=\"elsewhere\", nonce=\"x\", uri=\"x\", response=\"x\"",
        false,
    ),
    ("Reply-To", "<sip:carol@example.com>", false),
    ("Organization", "Example Corp", false),
    ("Subject", "fire in the kitchen", false),
    ("X-Secret", "value", false),
    ("X-Country-Code", "US", false),
    ("X-Emergency-Number", "+15550000000", false),
    ("Resource-Priority", "esnet.4", false),
    ("Priority", "emergency", false),
    ("User-Agent", "ExamplePhone 9", false),
    ("Server", "ExampleServer", false),
    ("Date", "Sat, 13 Nov 2010 23:29:00 GMT", false),
    ("In-Reply-To", "earlier@example.com", false),
    ("Alert-Info", "<http://example.com/ring.wav>", false),
    ("Error-Info", "<http://example.com/e.wav>", false),
    ("Call-Info", "<http://example.com/photo.jpg>;purpose=icon", false),
    ("P-Access-Network-Info", "IEEE-802.11;i-wlan-node-id=ffffffffffff", false),
    ("P-Visited-Network-ID", "other.net", false),
    ("P-Charging-Vector", "icid-value=1234bc9876e", false),
    ("Referred-By", "<sip:carol@example.com>", false),
    ("Session-ID", "ab30317f1a784dc48ff824d0d3715d86", false),
    ("User-to-User", "616c696365;encoding=hex", false),
    ("Supported", "100rel, replaces, timer", false),
    ("Session-Expires", "90", false),
    ("Accept-Contact", "*;audio", false),
    ("Geolocation", "<cid:place@example.com>", true),
    ("Geolocation-Routing", "yes", true),
    ("Accept-Language", "da, en-gb;q=0.8", true),
    ("Call-Info", "<https://data.example.org/x>;purpose=EmergencyCallData.ServiceInfo", true),
    ("X-Site", "Building 7", true),
];

/// Of those, what SPEC §4 removes whatever is configured.
const NEVER: [&str; 17] = [
    "P-Preferred-Identity",
    "P-Asserted-Identity",
    "Remote-Party-ID",
    "Diversion",
    "History-Info",
    "Identity",
    "Privacy",
    "Authorization",
    "Proxy-Authorization",
    "Reply-To",
    "Organization",
    "Subject",
    "X-Emergency-Number",
    "Resource-Priority",
    "Priority",
    "User-Agent",
    "Referred-By",
];

/// Rules 4.2i, 4.2j, 4.2k, 4.2l, 4.2m, 4.2n, 4.2o, 4.2p, 4.2q, 4.2r, 4.2s, 4.2t, 4.3a, 4.3b, 4.3d, 4.3e, 4.4a.
#[test]
fn the_allow_list_header_by_header() {
    let toml = Toml::default().psap("allow_headers = [\"X-Site\"]");
    for (name, value, passes) in HEADERS {
        let mut world = World::of(&toml);
        world.register(&alice());
        let invite = alice().invite("sip:911@example.com");
        let invite = if name == "User-Agent" { invite.set(name, value) } else { invite.with(name, value) };
        let offered = offered(&mut world, &invite);
        let crossed = offered.values(name).contains(&value);
        assert_eq!(crossed, passes, "{name}: {value}\n{offered}");
        if !passes && value.len() > 4 {
            assert!(!offered.to_string().contains(value), "{name}: {value}\n{offered}");
        }
    }
}

#[test]
fn only_headers_we_know_of_leave() {
    let mut world = World::with_alice();
    let invite =
        HEADERS.iter().fold(alice().invite("sip:911@example.com"), |invite, (name, value, _)| invite.with(name, value));
    let offered = offered(&mut world, &invite);
    let known = [
        "Via",
        "Max-Forwards",
        "From",
        "To",
        "Call-ID",
        "CSeq",
        "Contact",
        "Allow",
        "Supported",
        "Session-Expires",
        "User-Agent",
        "P-Asserted-Identity",
        "Geolocation",
        "Geolocation-Routing",
        "Accept-Language",
        "Call-Info",
        "Content-Type",
        "Content-Length",
    ];
    for (name, value) in &offered.lines {
        assert!(known.contains(&name.as_str()), "{name}: {value}");
    }
    assert_eq!(offered.values("Call-Info").len(), 1);
    assert_eq!(offered.header("User-Agent"), "sosbridge");
}

#[test]
fn section_4_no_allow_list_may_name_what_tells_who_calls_or_is_of_the_other_leg() {
    let never = HEADERS.iter().filter(|(name, _, passes)| !passes && NEVER.contains(name)).map(|(name, ..)| *name);
    let legs = ["Via", "Call-ID", "Contact", "From", "To", "Route", "Record-Route", "Content-Type", "Allow", "s", "y"];
    for name in never.chain(legs) {
        let toml = Toml::default().psap(&format!("allow_headers = [\"X-Site\", \"{name}\"]"));
        let refused = sosbridge::config::load(&toml.0, std::path::Path::new("/tmp")).expect_err(name);
        let [problem] = refused.as_slice() else { panic!("{refused:?}") };
        let long = match name {
            "s" => "Subject",
            "y" => "Identity",
            name => name,
        };
        assert!(problem.message.contains("`trunks[0].allow_headers[1]`"), "{}", problem.message);
        assert!(problem.message.contains(long), "{}", problem.message);
    }
}

#[test]
fn lines_of_the_description_that_tell_who_calls() {
    // (line, stays)
    let lines = [
        ("s=Alice calling", false),
        ("i=Call of +14255550123", false),
        ("e=alice@example.com", false),
        ("e=j.doe@example.org", false),
        ("p=+1 425 555 0123", false),
        ("u=http://example.com/~alice", false),
        ("a=cname:alice@desk", false),
        ("a=tool:phone of liddell", false),
        ("a=rtpmap:0 PCMU/8000", true),
        ("a=sendrecv", true),
        ("a=ptime:20", true),
        ("b=AS:64", true),
    ];
    for (line, stays) in lines {
        let mut world = World::with_alice();
        let invite = alice().invite("sip:911@example.com");
        let media = "m=audio 6000 RTP/AVP 0\r\n";
        let body = if line.starts_with("s=") {
            invite.body.replace("s=-", line)
        } else if matches!(&line[..2], "i=" | "e=" | "p=" | "u=") {
            invite.body.replace("s=-\r\n", &format!("s=-\r\n{line}\r\n"))
        } else {
            description("alice", 1, &[media.trim_end(), line])
        };
        let offered = offered(&mut world, &invite.sdp(&body));
        assert_eq!(offered.body.contains(line), stays, "{line}\n{}", offered.body);
        assert_eq!(offered.body.matches("s=-\r\n").count(), 1, "{line}\n{}", offered.body);
        assert!(offered.body.contains("m=audio 6000 RTP/AVP 0"), "{}", offered.body);
    }
}

#[test]
fn a_caller_named_like_a_codec_keeps_it() {
    let mut world = World::with_alice();
    let invite = alice().invite("sip:911@example.com").set("From", "\"Opus\" <sip:alice@example.com>;tag=o");
    let body = description("alice", 1, &["m=audio 6000 RTP/AVP 96", "a=rtpmap:96 opus/48000/2", "a=label:opus"]);
    let offered = offered(&mut world, &invite.sdp(&body));
    assert!(offered.body.contains("a=rtpmap:96 opus/48000/2") && !offered.body.contains("label"), "{}", offered.body);
}

/// Rule 4.3c.
#[test]
fn other_body_parts_cross_byte_for_byte() {
    let mut world = World::with_alice();
    let invite = with_location(alice().invite("sip:911@example.com"), "US").with("MIME-Version", "1.0");
    let offered = offered(&mut world, &invite);
    assert_eq!(offered.header("Content-Type"), "multipart/mixed;boundary=here");
    assert_eq!(offered.header("MIME-Version"), "1.0");
    let without_origin = |body: &str| {
        let lines = body.split_inclusive("\r\n").filter(|line| !line.starts_with("o="));
        lines.collect::<String>()
    };
    assert_eq!(without_origin(&offered.body), without_origin(&invite.body));
    assert_eq!(offered.header("Content-Length"), offered.body.len().to_string());
}

#[test]
fn nothing_leaks_later_in_the_call() {
    // The world itself looks for the secrets in every message to a trunk.
    let mut world = World::with_alice();
    let mut call = world.talking();
    for method in ["INFO", "MESSAGE"] {
        let request = call
            .phone
            .request(method)
            .body("text/plain", "hello")
            .with("P-Asserted-Identity", "<sip:alice@example.com>");
        world.send(&alice(), &request.with("Subject", "from alice").with("X-Me", "alice"));
        let carried = world.take(&psap(), method);
        world.send(&psap(), &psap().reply(&carried, 200));
        world.take(&alice(), "200");
    }
    let hold = description("alice", 2, &["m=audio 6000 RTP/AVP 0", "a=sendonly"]);
    let reinvite = call.phone.request("INVITE").sdp(&hold).with("P-Asserted-Identity", "<sip:alice@example.com>");
    world.send(&alice(), &reinvite.with("User-Agent", "Softphone of Alice"));
    let carried = world.take(&psap(), "INVITE");
    assert!(!carried.has("P-Asserted-Identity"), "{carried}");
    world.send(&psap(), &psap().reply(&carried, 200).sdp(&psap().offer()));
    world.take(&alice(), "200 INVITE");
    let ack = call.phone.request("ACK");
    world.send(&alice(), &ack);
    world.take(&psap(), "ACK");
    world.take(&alice(), "100");
    world.hang_up(&mut call);
}

#[test]
fn a_reinvite_that_names_the_caller_in_its_description() {
    let mut world = World::with_alice();
    let mut call = world.talking();
    let named = alice().offer().replace("s=-", "s=Alice again");
    world.send(&alice(), &call.phone.request("INVITE").sdp(&named));
    assert!(world.take(&psap(), "INVITE").body.contains("s=-\r\n"));
}

#[test]
fn an_answer_to_the_trunk_names_nobody() {
    // The phone answers the call center's re-INVITE, and the callback: the trunk sees its descriptions too.
    let mut world = World::with_alice();
    let mut call = world.talking();
    let named = alice().offer().replace("s=-", "s=Alice again");
    let reinvite = call.trunk.request("INVITE").sdp(&psap().offer());
    world.send(&psap(), &reinvite);
    let carried = world.take(&alice(), "INVITE");
    world.send(&alice(), &alice().reply(&carried, 200).sdp(&named));
    assert!(world.take(&psap(), "200 INVITE").body.contains("s=-\r\n"));
}

#[test]
fn an_ordinary_call_keeps_the_callers_identity() {
    let mut world = World::of(&Toml::default().add("[other_calls]\ntrunk = \"psap\"\n"));
    world.secrets.clear();
    world.register(&bob());
    world.send(&bob(), &bob().invite("sip:+12065550199@example.com"));
    let offered = world.take(&psap(), "INVITE");
    assert_eq!(offered.uri(), "sip:+12065550199@203.0.113.80:5080");
    assert!(offered.header("From").starts_with("<sip:+14255550124@192.0.2.1;user=phone>;tag="), "{offered}");
    assert!(world.node.leases_view(0).rows.is_empty());
}
