use crate::{Guard, GuardRuleSettings, GuardSettings, Hits, Pattern, Rules, Side};

fn masked(pattern: Pattern, text: &str) -> String {
    let guard = GuardSettings {
        name: "g".to_owned(),
        rules: vec![GuardRuleSettings {
            pattern: Some(pattern),
            replacement: Some("#".to_owned()),
            ..GuardRuleSettings::default()
        }],
        ..GuardSettings::default()
    };
    let guard = Guard::new(&guard).unwrap();
    let rules = Rules::new(Side::Input, guard.rules(Side::Input));
    let masked = rules.plain(text, &mut Hits::new()).unwrap();
    masked.unwrap_or_else(|| text.to_owned())
}

/// For each pattern, texts and what they become.
const TABLE: &[(Pattern, &[(&str, &str)])] = &[
    (
        Pattern::Email,
        &[
            ("write to ann.b+x@mail.example.org.", "write to #."),
            ("<ann@example.com>, bob@b.se", "<#>, #"),
            (
                "ann@localhost, a..b@example.com, @example.com",
                "ann@localhost, a..#, @example.com",
            ),
            ("to åann@example.com", "to #"),
            ("“jöe@exämple.com”", "“#”"),
            ("写信给ann@example.com。", "写信给#。"),
            ("ann\u{200B}@\u{FEFF}example.com", "#"),
            ("see me @ example.com", "see me @ example.com"),
        ],
    ),
    (
        Pattern::Phone,
        &[
            ("call +46 70 123 45 67 now", "call # now"),
            ("+1 (212) 555-0147", "#"),
            ("＋46\u{A0}70\u{2011}123\u{A0}45\u{A0}67", "#"),
            ("+46&nbsp;70\t123 45\u{200E}67", "#"),
            ("1+1234567890123", "1+1234567890123"),
            (
                "+28 123 456 789, +46 12, 0701234567",
                "+28 123 456 789, +46 12, 0701234567",
            ),
        ],
    ),
    (
        Pattern::Iban,
        &[
            ("GB82 WEST 1234 5698 7654 32 AND MORE", "# AND MORE"),
            ("DE89370400440532013000", "#"),
            (
                "DE89\u{A0}3704\u{A0}0044\u{A0}0532\u{A0}0130\u{A0}00\u{A0}é",
                "#\u{A0}é",
            ),
            ("de89 3704-0044\t0532 0130 00 and more", "# and more"),
            ("DE89370400440532013001", "DE89370400440532013001"),
            ("ZZ89370400440532013000", "ZZ89370400440532013000"),
        ],
    ),
    (
        Pattern::Card,
        &[
            ("4111 1111 1111 1111 12/27", "# 12/27"),
            ("2 times 4111-1111-1111-1111", "2 times #"),
            ("378282246310005", "#"),
            ("a 4111\u{A0}1111\u{202F}1111\u{2009}1111 b", "a # b"),
            ("4111\u{2011}1111\u{2212}1111\u{2013}1111", "#"),
            ("（４１１１　１１１１　１１１１　１１１１）", "（#）"),
            ("é٤١١١١١١١١١١١١١١١é", "é#é"),
            ("4111\u{200B}1111\u{200B}1111\u{200B}1111", "#"),
            ("4111\t1111  1111&nbsp;1111", "#"),
            ("4111\u{200E}1111\u{202E}1111\u{FE0F}1111", "#"),
            ("4111\u{2028}1111\u{3164}1111 \u{200B}1111", "#"),
            ("4111.1111.1111.1111. 3782.822463.10005", "#. #"),
            (
                "4.111111111111111, 411111.1111111111, 411.111.111.111.111.1",
                "4.111111111111111, 411111.1111111111, 411.111.111.111.111.1",
            ),
            (
                "4111111111111112, 0000 0000 0000 0000",
                "4111111111111112, 0000 0000 0000 0000",
            ),
            ("14111111111111111111111", "14111111111111111111111"),
        ],
    ),
    (
        Pattern::Ipv4,
        &[
            ("at 192.168.0.1.", "at #."),
            (
                "1.2.3.4.5, 256.1.1.1, 01.2.3.4",
                "1.2.3.4.5, 256.1.1.1, 01.2.3.4",
            ),
        ],
    ),
    (
        Pattern::Ipv6,
        &[
            ("at 2001:db8::1, fe80::1:2", "at #, #"),
            ("[2001:db8:0:0:0:0:2:1]:80", "[#]:80"),
            ("std::fmt, a::b, 12:30:45", "std::fmt, a::b, 12:30:45"),
        ],
    ),
    (
        Pattern::Ssn,
        &[
            ("SSN 123-45-6789.", "SSN #."),
            (
                "000-12-3456 666-12-3456 900-12-3456 123-00-4567 123-45-0000 123-45 6789",
                "000-12-3456 666-12-3456 900-12-3456 123-00-4567 123-45-0000 123-45 6789",
            ),
        ],
    ),
    (
        Pattern::Nino,
        &[
            ("AB 12 34 56 C, AB123456C", "#, #"),
            (
                "GB123456C, DB123456C, AB123456E",
                "GB123456C, DB123456C, AB123456E",
            ),
        ],
    ),
    (
        Pattern::Personnummer,
        &[
            ("811228-9874 and 198112289874", "# and #"),
            (
                "811228-9875, 811328-9874, 8112289874",
                "811228-9875, 811328-9874, 8112289874",
            ),
        ],
    ),
    (
        Pattern::ApiKey,
        &[
            (concat!("key sk", "-proj-0123456789abcdefghij!"), "key #!"),
            (concat!("AKI", "AABCDEFGHIJKLMNOP"), "#"),
            (concat!("-----BEGIN RSA PRIV", "ATE KEY-----"), "#"),
            (
                "task-0123456789abcdefghijkl, sk-short",
                "task-0123456789abcdefghijkl, sk-short",
            ),
        ],
    ),
];

#[test]
fn each_pattern_matches_what_is_valid_and_nothing_else() {
    assert_eq!(TABLE.len(), Pattern::ALL.len());
    for (pattern, cases) in TABLE {
        for (text, expected) in *cases {
            assert_eq!(&masked(*pattern, text), expected, "{pattern:?}");
        }
    }
}
