//! Templates at their bounds and beyond, on the stack of a thread.

use serde_json::json;

use super::super::{
    PROMPT_SIZE_MAX, PromptError, PromptInput, PromptSettings, Prompts, check, version_of,
};

/// The stack of a thread, as the runtime gives it to its workers.
const STACK: usize = 2 << 20;

fn on_a_small_stack(act: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(act);
    thread.unwrap().join().unwrap();
}

fn render(template: &str) -> Result<String, PromptError> {
    let prompts = Prompts::new(&[PromptSettings {
        name: "p".to_owned(),
        template: template.to_owned(),
        variants: Vec::new(),
    }]);
    let chosen = prompts.choose("p", "")?;
    assert_eq!(chosen.version, version_of(template));
    prompts.variables(&chosen);
    let input = PromptInput {
        session: json!({"city": "Kiruna", "list": [1, 2], "number": 2}),
        request: json!({"user": "ann"}),
        input: "Hej".to_owned(),
    };
    prompts.render(&chosen, &input)
}

/// A pattern: what is before, what is repeated, what is after, and how often it may be.
type Pattern = (&'static str, &'static str, &'static str, usize);

const PATTERNS: [Pattern; 26] = [
    ("{{ ", "-", "1 }}", 499),
    ("{{ ", "not ", "1 }}", 499),
    ("{{ 1", "+1", " }}", 249),
    ("{{ 1", "-1", " }}", 249),
    ("{{ 1", "*1", " }}", 249),
    ("{{ input", "+input", "}}", 249),
    ("{{ input", "~input", "}}", 249),
    ("{{ 1", "**1", " }}", 249),
    ("{{ 1", "//1", " }}", 249),
    ("{{ 1", " and 1", " }}", 249),
    ("{{ 1", " or 1", " }}", 249),
    ("{{ 1", " in [1]", " }}", 124),
    ("{{ 1", " == 1", " }}", 249),
    ("{{ 1", " is odd", " }}", 249),
    ("{{ 1", " if 1 else 1", " }}", 124),
    ("{{ input", "|upper", " }}", 249),
    ("{{ session", ".a", "|default(1) }}", 247),
    ("{{ session", "[1]", "|default(1) }}", 164),
    ("{{ range", "()", " }}", 249),
    ("{{ ", "f(", "", 20),
    ("{{ ", "(", "", 20),
    ("{{ ", "[", "", 20),
    ("{{ ", "{1:", "", 20),
    ("{% if 0 %}", "{% elif 0 %}", "{% endif %}", 100),
    ("", "{% if 1 %}", "", 50),
    ("", "{% for a in [1] %}", "", 50),
];

fn made(&(before, repeated, after, _): &Pattern, count: usize) -> String {
    let close = match repeated {
        "(" | "f(" => "1".to_owned() + &")".repeat(count) + "}}",
        "[" => "]".repeat(count) + "}}",
        "{1:" => "1".to_owned() + &"}".repeat(count) + "}}",
        "{% if 1 %}" => "{% endif %}".repeat(count),
        "{% for a in [1] %}" => "{% endfor %}".repeat(count),
        _ => String::new(),
    };
    format!("{before}{}{after}{close}", repeated.repeat(count))
}

#[test]
fn each_pattern_at_its_bound_fits_the_stack_and_above_it_is_refused() {
    on_a_small_stack(|| {
        for pattern in &PATTERNS {
            let most = pattern.3;
            let fits = super::bounded(&made(pattern, most));
            assert!(fits.is_ok(), "{pattern:?}: {fits:?}");
            let shown = render(&made(pattern, most));
            // What the values do not allow is told in words.
            assert!(
                !matches!(shown, Err(PromptError::Unknown(_))) || pattern.1 == "f(",
                "{pattern:?}: {shown:?}"
            );
            for more in [most + 1, most * 40, 100_000] {
                let refused = check(&made(pattern, more)).unwrap_err();
                assert!(refused.contains("more than"), "{pattern:?}: {refused}");
                assert!(refused.contains("line 1"), "{pattern:?}: {refused}");
            }
        }
    });
}

#[test]
fn the_deepest_template_of_all_bounds_together_fits_the_stack() {
    on_a_small_stack(|| {
        let deep = format!(
            "{}{}{{{{ {}1 }}}}{{{{ {}1{} }}}}{{% endif %}}{}",
            "{% if 1 %}".repeat(49),
            "{% if 0 %}".to_owned() + &"{% elif 1 %}".repeat(100),
            "-".repeat(499),
            "[".repeat(20),
            "]".repeat(20),
            "{% endif %}".repeat(49),
        );
        assert_eq!(super::bounded(&deep).map(|_| ()), Ok(()));
        render(&deep).unwrap();
        // An `elif` is counted for what is within it.
        let chain = "{% if 0 %}".to_owned() + &"{% elif 1 %}".repeat(90);
        let refused = check(&chain.repeat(2)).unwrap_err();
        assert!(refused.contains("around each other"), "{refused}");
    });
}

#[test]
fn texts_comments_and_raw_blocks_are_not_counted() {
    let long = "- ".repeat(2000);
    for fine in [
        format!("{{{{ '{long}}}}}' }}}}"),
        format!("{{{{ \"{long}\\\" }}}}\" }}}}"),
        format!("{{# {{{{ {long} #}}"),
        format!("{{% raw %}}{{{{ {long} {{% endraw %}}"),
        format!("{{%- raw -%}}{{{{ {long} {{%- endraw +%}}"),
        format!("{long}{{ {long}"),
        "{{ 1 }}".repeat(2000),
        "{% if 1 %}{% endif %}".repeat(2000),
    ] {
        assert_eq!(check(&fine), Ok(()));
    }
    let after = format!("{{# #}}{{% raw %}}{{% endraw %}}\n{{{{ {long}1 }}}}");
    let refused = check(&after).unwrap_err();
    assert_eq!(refused, "a tag has more than 500 tokens (in line 2)");
}

#[test]
fn what_is_not_known_is_named() {
    for (template, message) in [
        ("{{ input|nope }}", "there is no filter `nope` (in line 1)"),
        (
            "\n{{ input|upper|nope(1) }}",
            "there is no filter `nope` (in line 2)",
        ),
        (
            "{% filter nope %}x{% endfilter %}",
            "there is no filter `nope` (in line 1)",
        ),
        (
            "{% if input is nope %}{% endif %}",
            "there is no test `nope` (in line 1)",
        ),
        (
            "{% if input is not nope %}{% endif %}",
            "there is no test `nope` (in line 1)",
        ),
        ("{{ nope(1) }}", "there is no function `nope` (in line 1)"),
        (
            "{% if 0 %}{{ [nope()] }}{% endif %}",
            "there is no function `nope` (in line 1)",
        ),
    ] {
        assert_eq!(check(template).unwrap_err(), message, "{template}");
    }
    for fine in [
        "{{ input|upper|default('nope(')|replace('a', 'b') }}",
        "{% if input is not none and input is defined %}{% endif %}",
        "{% for a in range(3) recursive %}{{ loop.index }}{% endfor %}",
        "{% set ns = namespace(a=1) %}{% set ns.a = 2 %}{{ ns.a }}",
        "{% for name, value in session|items %}{{ name ~ value }}{% endfor %}",
        "{% if (1) in (1, 2) and not (0) %}{% elif (2) %}{% endif %}",
        "{{ request.user.upper }}{{ session['nope'] }}",
        "{% filter upper %}x{% endfilter %}{% set x | upper %}y{% endset %}",
    ] {
        assert_eq!(check(fine), Ok(()), "{fine}");
    }
}

#[test]
fn values_are_as_before() {
    for (template, text) in [
        ("{{ 2 * 3 + session.number * 2 }}", "10"),
        (
            "{{ -session.number * 3 }} {{ 2 ** 3 * session.number }}",
            "-6 16",
        ),
        ("{{ '=' * 3 }}{{ input * 2 }}", "===HejHej"),
        ("{{ session.list|length * 2 }}", "4"),
        ("{{ session.list + [3] }}", "[1, 2, 3]"),
        ("{{ input ~ ' ' ~ session.city|upper }}", "Hej KIRUNA"),
        ("{% set a, b = 1, 2 %}{{ a + b }}", "3"),
        (
            "{% set ns = namespace(x=0) %}{% for i in range(4) %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}",
            "6",
        ),
        ("{% set x %}a{% endset %}{{ x ~ x }}", "aa"),
        ("{% set x | upper %}a{% endset %}{{ x }}", "A"),
        ("{{ nope|default('x') }}{{ session.nope|d('y') }}", "xy"),
        ("{% set x = input if 1 else 2 -%} {{ x }}", "Hej"),
        ("{{ dict(**{'a': 1 * 2}).a }}", "2"),
        ("{{ 3 is odd }} {{ 1 in [1] + [2] }}", "True True"),
    ] {
        assert_eq!(render(template), Ok(text.to_owned()), "{template}");
    }
}

#[test]
fn a_value_without_measure_is_refused() {
    on_a_small_stack(|| {
        let doubled = "{% set a = a + a %}".repeat(30);
        let nested = "{% set a = [a] %}".repeat(10_000);
        for template in [
            "{{ ['a'] * 100000000 }}".to_owned(),
            "{{ 100000000 * ['a'] }}".to_owned(),
            "{{ (session.list * 100000000)|string }}".to_owned(),
            "{{ '' ~ session.list * 100000000 }}".to_owned(),
            "{{ 'a' * 100000000 }}".to_owned(),
            format!("{{% set a = [1] %}}{doubled}{{{{ a }}}}"),
            format!("{{% set a = [1] %}}{nested}"),
            "{% set n = namespace(x=0) %}{% for i in range(9999) %}{% set n.x = [n.x] %}{% endfor %}".to_owned(),
            "{% set n = namespace() %}{% set n.x = n %}{{ n }}".to_owned(),
            "{% set n = namespace() %}{% set l = [n] %}{% set n.x = l %}{{ n }}".to_owned(),
            "{% set a = range(50000)|list %}{% for i in range(9999) %}{% set b = a %}{% endfor %}".to_owned(),
        ] {
            let refused = render(&template).unwrap_err();
            assert!(matches!(refused, PromptError::Failed { .. }), "{refused}");
        }
    });
    assert!(render("{{ 'a' * 1000 }}").unwrap().len() < PROMPT_SIZE_MAX);
}
