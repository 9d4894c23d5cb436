//! The bound of the answer in a Messages request.

use serde_json::{Map, Value};

use crate::translate::{Fields, InvalidField};

/// Moves the bound of the answer. Without a bound, the answer gets the default beside the tokens of its thinking.
pub(super) fn limit(
    fields: &mut Fields<'_>,
    message: &mut Map<String, Value>,
    default: u32,
) -> Result<(), InvalidField> {
    let newer = fields.take("max_completion_tokens");
    let older = fields.take("max_tokens");
    let given = match newer.or(older) {
        None => None,
        Some(limit) => match whole_number(&limit) {
            // Servers of the chat API take this as no bound.
            Some(-1) => None,
            Some(limit) if limit >= 0 => Some(limit),
            _ => return Err(fields.wrong("max_tokens", "must be a whole number")),
        },
    };
    let limit = given.unwrap_or_else(|| {
        let thinking = fields.get("thinking");
        let budget = thinking.and_then(|thinking| thinking.get("budget_tokens"));
        let budget = budget.and_then(whole_number).unwrap_or_default().max(0);
        budget.saturating_add(default.into())
    });
    message.insert("max_tokens".to_owned(), limit.into());
    Ok(())
}

/// Returns a whole number, also if it is written with a fraction of zero.
fn whole_number(value: &Value) -> Option<i64> {
    /// The largest number of which each smaller whole number is a `f64` too.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    value.as_i64().or_else(|| {
        let number = value.as_f64()?;
        let is_whole = number.fract() == 0.0 && number.abs() <= EXACT_MAX;
        #[expect(clippy::cast_possible_truncation, reason = "it is whole and in range")]
        is_whole.then_some(number as i64)
    })
}
