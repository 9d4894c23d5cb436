//! How the commands in actions reach the service, so that they can be copied and run as they are.

use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What is encoded in a part of a path: all but the unreserved characters of URLs (RFC 3986), so that neither a shell nor the
/// gateway reads it differently.
const PATH_PART: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// How the commands in actions reach the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The beginning of a command, with what the service asks of its callers.
    pub curl: Arc<str>,
    /// The address of the service without a slash at its end.
    pub base: Arc<str>,
}

impl Default for Access {
    /// Returns the access to a service without keys at the default address.
    fn default() -> Self {
        Self {
            curl: "curl".into(),
            base: "http://127.0.0.1:8080".into(),
        }
    }
}

impl Access {
    /// Fills in the text of an action: `{}` is the subject, `{path}` the subject as a part of a URL, `{curl}` and `{base}` are
    /// those of the access.
    pub(crate) fn fill(&self, text: &str, subject: &str) -> String {
        let in_url = utf8_percent_encode(subject, PATH_PART).to_string();
        let text = text.replace("{curl}", &self.curl);
        let text = text.replace("{base}", &self.base);
        let text = text.replace("{path}", &in_url);
        // The subject is last, so that nothing in it is taken for a place.
        text.replace("{}", subject)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_in_a_command_is_a_part_of_its_path() {
        let access = Access {
            curl: "curl -H 'a: b'".into(),
            base: "http://127.0.0.1:9".into(),
        };
        let action = access.fill("`{}`: `{curl} {base}/b/{path}/reopen`", "a/b c?'$x{base}");
        let expected = "`a/b c?'$x{base}`: `curl -H 'a: b' http://127.0.0.1:9/b/a%2Fb%20c%3F%27%24x%7Bbase%7D/reopen`";
        assert_eq!(action, expected);
    }
}
