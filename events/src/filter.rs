//! Filters of topics, with the wildcards of NATS.

/// Returns `true` if a filter lets a topic pass. Both have parts between dots; in a filter `*` stands for one part, and `>` at the end for one or more.
pub fn matches(filter: &str, topic: &str) -> bool {
    let mut parts = topic.split('.');
    for wanted in filter.split('.') {
        match (wanted, parts.next()) {
            (_, None) => return false,
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (wanted, Some(part)) if wanted == part => {}
            _ => return false,
        }
    }
    parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_one_part_and_the_rest_is_one_or_more() {
        for (filter, topic, passes) in [
            ("a.b", "a.b", true),
            ("a.b", "a.b.c", false),
            ("a.b.c", "a.b", false),
            ("a.*", "a.b", true),
            ("a.*", "a", false),
            ("*.b", "a.b", true),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            (">", "a", true),
            ("a.*.c", "a.b.d", false),
        ] {
            assert_eq!(matches(filter, topic), passes, "{filter} {topic}");
        }
    }
}
