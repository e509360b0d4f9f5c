//! What can be run and would refuse an emergency call, or call the wrong person back (the command `check`).

use super::*;

#[test]
fn shared_numbers_are_those_of_nobody() {
    let with = |from: &str, to: &str| good(&BASE.replace(from, to)).config;
    let shared = |config: &Config| {
        let overflow = config.overflow(&config.resources[0]).unwrap();
        (overflow.numbers().map(|number| number.to_string()).collect::<Vec<_>>().join(" "), overflow.is_lent())
    };
    let bought = "numbers = [{ number = \"+14255550100\", make_calls = true }]";
    let more = "numbers = [{ number = \"+14255550103\", make_calls = true }, { number = \"+14255550102\", make_calls = true }, \
                { number = \"+14255550101\" }]";
    assert_eq!(shared(&with("", "")), ("+14255550100".to_owned(), false));
    assert_eq!(shared(&with(bought, more)), ("+14255550102 +14255550103".to_owned(), false));
    let one = format!("{bought}\noverflow = \"+14255550109\"");
    assert_eq!(shared(&with(bought, &one)), ("+14255550109".to_owned(), false));
    let several = format!("{bought}\noverflow = [\"+14255550109\", \"+14255550108\"]");
    assert_eq!(shared(&with(bought, &several)), ("+14255550109 +14255550108".to_owned(), false));
    let own = "resource = \"contoso\"\nnumber = \"+14255550100\"\n[[pools]]";
    assert_eq!(shared(&with("resource = \"contoso\"\n[[pools]]", own)), ("+14255550100".to_owned(), true));
    assert!(with(", make_calls = true", "").overflow(&with("", "").resources[0]).is_none());
}

/// One warning a row: what is replaced in the base file by what.
/// Rule 2.1b.
#[test]
fn what_would_refuse_an_emergency_call_is_a_warning() {
    let rows = [
        (
            ", make_calls = true",
            "",
            "resource \"contoso\" owns no number with make_calls: every emergency call of its 1 users is refused",
        ),
        (
            "unknown_country = \"US\"\n",
            "",
            "sip:alice@example.com is without a country, and resource \"contoso\" has no unknown_country",
        ),
        (
            "unknown_country = \"US\"",
            "unknown_country = \"FR\"",
            "sip:alice@example.com is in a country without emergency numbers",
        ),
        ("\"DK\"]\ntrunks", "\"PR\"]\ntrunks", "no route for DK 112: these emergency calls are refused"),
        (
            "\"DK\"]\ntrunks",
            "\"DK\"]\nnumbers = [\"911\", \"112\"]\ntrunks",
            "no route of their own for GB 999 (as 112): these emergency calls go by that of another number",
        ),
        ("unknown_country = \"US\"\n", "outside_countries = \"best-effort\"\n", ""),
        ("\"DK\"]\nnumbers", "\"PR\"]\nnumbers", "no pool has temporary numbers for DK"),
        ("targets = [{ uri = \"sip:127.0.0.1:5080\" }]", "", "trunk \"center\" has no targets"),
        ("accept_from = [\"127.0.0.1:5080\"]", "", "trunk \"center\" has no accept_from"),
        ("sip:127.0.0.1:5080", "sip:[::1]:5080", "no listener can send to sip:[::1]:5080"),
        (
            "uri = \"sip:127.0.0.1",
            "uri = \"sips:127.0.0.1",
            "trunk \"center\" is reached over tls, and no listener is tls",
        ),
        ("[[pools]]", "[[users]]\naor = \"sip:b@h\"\npassword = \"x\"\nresource = \"contoso\"\n[[pools]]", ""),
        (
            "-+14255551099\"",
            "\"]\n[[users]]\naor = \"sip:b@h\"\npassword = \"x\"\nresource = \"contoso\"\nlocation = {}\n[geo]\nunreliable = [\"::/0\"",
            "2 users draw on 1 numbers",
        ),
        (
            "resource = \"contoso\"\n[[pools]]",
            "resource = \"contoso\"\nnumber = \"+14255550100\"\n[[pools]]",
            "every number with make_calls of resource \"contoso\" is a user's own",
        ),
    ];
    for (from, to, expected) in rows {
        let text = BASE.replace(from, to);
        assert_ne!(text, BASE);
        let warnings = lines(&good(&text).warnings, &text);
        let found = warnings.iter().any(|warning| warning.contains(expected) && !expected.is_empty());
        assert!(found || (expected.is_empty() && warnings.is_empty()), "wanted {expected}\ngot {warnings:#?}");
    }
}

/// Where only people behind a PBX, or those of one resource, are concerned.
#[test]
fn what_concerns_some_callers_only_is_a_warning_too() {
    let fabrikam = |make_calls: bool| {
        format!(
            "[[resources]]\nname = \"fabrikam\"\nnumbers = [{{ number = \"+14255550200\", make_calls = {make_calls} }}]\nunknown_country = \"US\"\n"
        )
    };
    let user = |name: &str| {
        format!("[[users]]\naor = \"sip:{name}@example.com\"\npassword = \"x\"\nresource = \"fabrikam\"\n")
    };
    let pbx =
        "[[pbxs]]\nname = \"hq\"\nresource = \"fabrikam\"\naddresses = [\"10.0.0.9\"]\ntarget = \"sip:127.0.0.9\"\n";
    let pool = "[[pools]]\ncountries = [\"US\"]\nresource = \"fabrikam\"\nnumbers = [\"+14255552000\"]\n";
    let reserved = BASE.replace("[[pools]]\ncountries", "[[pools]]\nresource = \"contoso\"\ncountries");
    let two = BASE.replace("-+14255551099", "-+14255551001");
    let one = BASE.replace("-+14255551099", "");
    let many = pool.replace("+14255552000", "+14255552000-+14255552099");
    let joe = user("joe").replace("fabrikam", "contoso");
    let direct = "[[resources.direct_routes]]\npattern = \"^911$\"\ntrunks = [\"center\"]\n";
    let (calls, fay) = (fabrikam(true), user("fay"));
    let lost = "callers of resource \"fabrikam\" are in US, and no pool for US is open to them";
    let rows = [
        (format!("{BASE}{calls}{fay}"), ""),
        (format!("{BASE}{calls}{pbx}"), ""),
        (format!("{reserved}{calls}{fay}"), lost),
        (format!("{reserved}{calls}{pbx}"), lost),
        (format!("{reserved}{calls}{fay}{pool}"), ""),
        (format!("{reserved}{calls}{pbx}{pool}"), ""),
        (
            format!("{BASE}{}{pbx}", fabrikam(false)),
            "resource \"fabrikam\" owns no number with make_calls: every emergency call of PBX \"hq\" is refused",
        ),
        (
            format!("{BASE}{}{pbx}", calls.replace("\"US\"", "\"FR\"")),
            "unknown_country of resource \"fabrikam\" is FR, without emergency numbers: calls of PBX \"hq\"",
        ),
        (
            format!("{BASE}{}{direct}{fay}", fabrikam(false)),
            "every emergency call of its 1 users that none of its direct_routes takes is refused",
        ),
        (
            format!("{BASE}{}{direct}{pbx}", fabrikam(false)),
            "every emergency call of PBX \"hq\" that none of its direct_routes takes is refused",
        ),
        (format!("{two}{calls}{fay}{}", user("joe")), "3 users draw on 2 numbers"),
        // Numbers that only another resource may draw on help nobody else.
        (format!("{one}{calls}{fay}{pool}"), ""),
        (format!("{one}{joe}{calls}{fay}{many}"), "2 users draw on 1 numbers"),
    ];
    for (text, expected) in rows {
        let warnings = lines(&good(&text).warnings, &text);
        let is_right = match expected {
            "" => warnings.is_empty(),
            _ => warnings.len() == 1 && warnings[0].contains(expected),
        };
        assert!(is_right, "wanted {expected}\ngot {warnings:#?}\n{text}");
    }
}

/// Conformance RE-4: where a trunk that can be charged for takes emergency calls too.
#[test]
fn transfers_to_any_number_of_another_trunk_are_a_warning() {
    let backup = "[[trunks]]\nname = \"backup\"\ntargets = [{ uri = \"sip:127.0.0.1:5090\" }]\naccept_from = [\"127.0.0.1:5090\"]\n\
                  transfer_to = []\n";
    let both = BASE.replace("trunks = [\"center\"]", "trunks = [\"center\", \"backup\"]");
    let elsewhere = both.replace(
        "\"GB\", \"DK\"]\ntrunks = [\"center\", ",
        "\"GB\"]\ntrunks = [\"center\"]\n[[routes]]\ncountries = [\"DK\"]\ntrunks = [",
    );
    assert_ne!(elsewhere, both);
    let ordinary = "[other_calls]\ntrunk = \"backup\"\n";
    let direct =
        "[[resources]]\nname = \"own\"\n[[resources.direct_routes]]\npattern = \"^911$\"\ntrunks = [\"backup\"]\n";
    let center = |key: &str| {
        both.replace("accept_from = [\"127.0.0.1:5080\"]", &format!("accept_from = [\"127.0.0.1:5080\"]\n{key}"))
    };
    let expected =
        "trunk \"center\" has no transfer_to: its call takers may transfer a caller to any number over [\"backup\"]";
    let rows = [
        (format!("{both}{backup}"), false),
        (format!("{both}{backup}{ordinary}"), true),
        (format!("{both}{backup}{direct}"), true),
        (format!("{both}{backup}{direct}{ordinary}"), true),
        (format!("{both}{backup}[other_calls]\ntrunk = \"center\"\n"), false),
        (format!("{elsewhere}{backup}{ordinary}"), false),
        (format!("{BASE}{backup}{ordinary}"), false),
        (format!("{}{backup}{ordinary}", center("transfer_to = []")), false),
        (format!("{}{backup}{ordinary}", center("transfer_to = [\"^\\\\+1206\\\\d{7}$\"]")), false),
    ];
    for (text, is_told) in rows {
        let warnings = lines(&good(&text).warnings, &text);
        let is_right = match is_told {
            true => warnings.len() == 1 && warnings[0].contains(expected),
            false => warnings.is_empty(),
        };
        assert!(is_right, "{warnings:#?}\n{text}");
    }
}
