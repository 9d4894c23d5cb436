//! Which tools a rule is about, and which calls need an approval.

use serde_json::Value;

use crate::translate::{Fields, InvalidField, Path};

/// Takes tools by their names, by whether they only read, or by both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolFilter {
    /// The names; `None` for any.
    names: Option<Vec<String>>,
    /// `true` for tools that say that they change nothing, `false` for all others; `None` for any.
    read_only: Option<bool>,
}

/// Which calls need an approval. `always` takes precedence over `never`; what neither names needs one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalRule {
    always: Option<ToolFilter>,
    never: Option<ToolFilter>,
}

impl ToolFilter {
    /// Reads a list of names, or an object with `tool_names` and `read_only`.
    pub(super) fn read(filter: Value, path: Path<'_>) -> Result<Self, InvalidField> {
        if let Value::Array(names) = filter {
            return Ok(Self {
                names: Some(texts(names, path)?),
                read_only: None,
            });
        }
        let mut filter = Fields::of(filter, path)?;
        let names = match filter.take_list("tool_names")? {
            None => None,
            Some(names) => Some(texts(names, path.key("tool_names"))?),
        };
        let read_only = match filter.take("read_only") {
            None => None,
            Some(Value::Bool(read_only)) => Some(read_only),
            Some(_) => return Err(filter.wrong("read_only", "must be true or false")),
        };
        filter.refuse_rest()?;
        Ok(Self { names, read_only })
    }

    /// Returns `true` for a tool that it takes.
    pub fn takes(&self, tool: &str, is_read_only: bool) -> bool {
        let names = self.names.as_ref();
        names.is_none_or(|names| names.iter().any(|name| name == tool))
            && self.read_only.is_none_or(|wanted| wanted == is_read_only)
    }
}

impl ApprovalRule {
    /// Each call needs an approval, as OpenAI's servers have it without a rule.
    pub fn always() -> Self {
        Self {
            always: None,
            never: None,
        }
    }

    /// No call needs one.
    pub fn never() -> Self {
        Self {
            always: None,
            never: Some(ToolFilter::default()),
        }
    }

    /// Reads `always`, `never`, or an object with filters for both.
    pub(super) fn read(rule: Value, path: Path<'_>) -> Result<Self, InvalidField> {
        match &rule {
            Value::String(word) if word == "always" => return Ok(Self::always()),
            Value::String(word) if word == "never" => return Ok(Self::never()),
            Value::Object(_) => {}
            _ => {
                let reason = "must be `always`, `never` or an object with filters";
                return Err(InvalidField::at(path, reason));
            }
        }
        let mut rule = Fields::of(rule, path)?;
        let mut filter = |key: &str| match rule.take(key) {
            None => Ok(None),
            Some(filter) => ToolFilter::read(filter, path.key(key)).map(Some),
        };
        let (always, never) = (filter("always")?, filter("never")?);
        rule.refuse_rest()?;
        Ok(Self { always, never })
    }

    /// Returns `true` if a call of a tool needs an approval.
    pub fn asks(&self, tool: &str, is_read_only: bool) -> bool {
        let takes = |filter: &Option<ToolFilter>| {
            let filter = filter.as_ref();
            filter.is_some_and(|filter| filter.takes(tool, is_read_only))
        };
        if takes(&self.always) {
            // A tool of both is asked for: the stricter rule holds.
            return true;
        }
        !takes(&self.never)
    }
}

fn texts(names: Vec<Value>, path: Path<'_>) -> Result<Vec<String>, InvalidField> {
    let names = names.into_iter().map(|name| match name {
        Value::String(name) => Ok(name),
        _ => Err(InvalidField::at(path, "must be a list of names")),
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_call_needs_an_approval_unless_a_rule_says_otherwise() {
        let asks = |rule: Value, tool: &str, is_read_only| {
            let rule = ApprovalRule::read(rule, Path::Root.key("r")).unwrap();
            rule.asks(tool, is_read_only)
        };
        assert!(asks(json!("always"), "a", true));
        assert!(!asks(json!("never"), "a", false));
        let never = json!({"never": {"tool_names": ["a"]}});
        assert!(!asks(never.clone(), "a", false) && asks(never, "b", true));
        let reads = json!({"never": {"read_only": true}});
        assert!(!asks(reads.clone(), "b", true) && asks(reads, "b", false));
        let both = json!({"always": {"tool_names": ["a"]}, "never": {"tool_names": ["a", "b"]}});
        assert!(asks(both.clone(), "a", false) && !asks(both, "b", false));
        for (rule, field) in [
            (json!("sometimes"), "r"),
            (json!(1), "r"),
            (json!({"x": {}}), "r.x"),
            (json!({"never": {"tool_names": [1]}}), "r.never.tool_names"),
            (json!({"never": {"read_only": 1}}), "r.never.read_only"),
        ] {
            let error = ApprovalRule::read(rule, Path::Root.key("r")).unwrap_err();
            assert_eq!(error.field, field);
        }
    }
}
