//! What a template may be: bounds that keep the recursive parser and renderer of Jinja within the stack of a thread.
//!
//! A template is scanned once, in linear time, before it is compiled. The scanner knows texts, comments and raw blocks. It counts the tokens of
//! each tag and the blocks around each place, and notes where a value is joined, repeated or kept: the filters of `values` are written
//! there, which bound the value.

mod scan;

use std::collections::{BTreeMap, BTreeSet};

use minijinja::Environment;

use super::values::{BOUNDED, FACTOR, PLAIN};
use scan::{Kind, Scan, Tag, Token};

/// The maximum number of tokens between the two ends of a tag.
const TOKENS_MAX: usize = 500;
/// The maximum number of parentheses, brackets and braces within each other.
const BRACKETS_MAX: usize = 20;
/// The maximum number of blocks within each other.
const BLOCKS_MAX: usize = 50;
/// The maximum number of `elif` of one block.
const ELIFS_MAX: usize = 100;
/// The maximum number of blocks and of their earlier `elif` around one place.
const AROUND_MAX: usize = 150;

const OPENING: [&str; 7] = ["if", "for", "with", "filter", "autoescape", "macro", "call"];
/// The words that are no values.
const WORDS: [&str; 8] = ["not", "in", "and", "or", "if", "else", "is", "recursive"];
/// The filters that take an undefined value, or do not walk through the items of one.
const UNBOUNDED: [&str; 6] = ["default", "d", "length", "count", "first", "last"];

/// Checks the bounds of a template, and returns the text to compile, in which the filters of `values` bound the values.
///
/// # Errors
/// Returns the bound that does not hold, with its line.
pub(super) fn bounded(template: &str) -> Result<String, String> {
    let mut blocks = Blocks::default();
    let mut insertions = Vec::new();
    Scan::new(template).each(TOKENS_MAX, BRACKETS_MAX, |tag| {
        blocks.see(tag)?;
        insert(tag, &mut insertions);
        Ok(())
    })?;
    insertions.sort_by_key(|(place, _)| *place);
    let mut text = String::with_capacity(template.len() + insertions.len() * 16);
    let mut from = 0;
    for (place, inserted) in insertions {
        text.push_str(template.get(from..place).unwrap_or_default());
        text.push_str(inserted);
        from = place;
    }
    text.push_str(template.get(from..).unwrap_or_default());
    Ok(text)
}

/// Checks the bounds of a template whose values need none, because the operator writes it.
///
/// # Errors
/// Returns the bound that does not hold, with its line.
pub fn check_bounds(template: &str) -> Result<(), String> {
    bounded(template).map(drop)
}

/// The open blocks, each with the number of its `elif`.
#[derive(Default)]
struct Blocks(Vec<usize>);

impl Blocks {
    fn see(&mut self, tag: &Tag<'_>) -> Result<(), String> {
        let wrong = |what: String| Err(format!("{what} (in line {})", tag.line));
        let statement = tag.statement();
        if OPENING.contains(&statement) || (statement == "set" && tag.assignment().is_none()) {
            self.0.push(0);
        } else if statement == "elif" {
            if let Some(elifs) = self.0.last_mut() {
                *elifs += 1;
                if *elifs > ELIFS_MAX {
                    return wrong(format!("a block has more than {ELIFS_MAX} `elif`"));
                }
            }
        } else if statement.starts_with("end") {
            self.0.pop();
        }
        if self.0.len() > BLOCKS_MAX {
            return wrong(format!(
                "more than {BLOCKS_MAX} blocks are within each other"
            ));
        }
        if self.0.iter().map(|elifs| elifs + 1).sum::<usize>() > AROUND_MAX {
            return wrong(format!(
                "more than {AROUND_MAX} blocks and `elif` are around each other"
            ));
        }
        Ok(())
    }
}

/// Notes the filters that bound the values of a tag.
fn insert(tag: &Tag<'_>, insertions: &mut Vec<(usize, &'static str)>) {
    let tokens = &tag.tokens;
    let mut places = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        let filter = match token.text {
            "*" => FACTOR,
            "+" | "~" => BOUNDED,
            "|" if !tokens
                .get(index + 1)
                .is_some_and(|name| UNBOUNDED.contains(&name.text)) =>
            {
                BOUNDED
            }
            _ => continue,
        };
        // After nothing, it is a sign, or takes the arguments of a call apart.
        let Some(left) = index.checked_sub(1).and_then(|index| tokens.get(index)) else {
            continue;
        };
        if token.kind != Kind::Sign || !left.ends_value() {
            continue;
        }
        // The name of a filter of a block has no value.
        if tag.statement() == "filter" && tag.depth_of(index) == 0
            || (tag.statement() == "set" && tag.assignment().is_none())
        {
            continue;
        }
        // What a test returns needs no bound, and a sign after it belongs to its argument.
        if (left.kind == Kind::Word || left.kind == Kind::Sign) && !tag.is_test(index - 1) {
            places.push((left.end, filter));
        }
        if token.text != "|"
            && let Some(end) = tag.operand_end(index + 1)
        {
            places.push((end, filter));
        }
    }
    // One filter at each place is enough; the one of a product is the stricter one.
    places.sort_by_key(|(place, filter)| (*place, *filter != FACTOR));
    places.dedup_by_key(|(place, _)| *place);
    insertions.extend(places);
    if tag.statement() == "set"
        && let (Some(equals), Some(last)) = (tag.assignment(), tokens.last())
        && let Some(sign) = tokens.get(equals)
        && equals + 1 < tokens.len()
    {
        let is_attribute = tokens.iter().take(equals).any(|token| token.text == ".");
        insertions.push((sign.end, "("));
        insertions.push((last.end, ")"));
        insertions.push((last.end, if is_attribute { PLAIN } else { BOUNDED }));
    }
}

impl Token<'_> {
    /// Returns `true` if a value can end here.
    fn ends_value(&self) -> bool {
        match self.kind {
            Kind::Word => !WORDS.contains(&self.text),
            Kind::Number | Kind::Text => true,
            Kind::Sign => matches!(self.text, ")" | "]" | "}"),
        }
    }
}

/// Names the filters, tests and functions of a template that do not exist.
///
/// Filters and tests are what follows `|` and `is`, and the names of filter blocks; functions are names before a parenthesis that the template
/// does not set itself. Names in texts, such as that of `map("name")`, are not seen.
///
/// # Errors
/// Returns the first unknown name, with its line.
pub(super) fn check_names(template: &str, environment: &Environment<'_>) -> Result<(), String> {
    // Each name is looked up once, however often it is used.
    let mut known = BTreeMap::new();
    let mut exists = |name: &str, kind: &'static str| {
        *known
            .entry((kind, name.to_owned()))
            .or_insert_with(|| looks_up(environment, name, kind))
    };
    let mut own = BTreeSet::from(["loop"]);
    Scan::new(template).each(TOKENS_MAX, BRACKETS_MAX, |tag| {
        if ["set", "for", "with"].contains(&tag.statement()) {
            let words = tag.tokens.iter().filter(|token| token.kind == Kind::Word);
            own.extend(words.map(|token| token.text));
        }
        Ok(())
    })?;
    Scan::new(template).each(TOKENS_MAX, BRACKETS_MAX, |tag| {
        let text = |index: usize| tag.tokens.get(index).map_or("", |token| token.text);
        for (index, token) in tag.tokens.iter().enumerate() {
            let before = index.checked_sub(1).map_or("", text);
            if token.kind != Kind::Word || text(index + 1) == "." {
                continue;
            }
            let is_block = index == 1 && before == "filter" && tag.is_block;
            let is_test = tag.is_test(index);
            let (what, fine) = if before == "|" || is_block {
                ("filter", exists(token.text, "name is filter"))
            } else if is_test {
                ("test", exists(token.text, "name is test"))
            } else if text(index + 1) == "(" && tag.is_call(index) {
                let is_own = own.contains(token.text);
                let mut globals = environment.globals();
                let is_global = globals.any(|(name, _)| name == token.text);
                ("function", is_own || is_global)
            } else {
                continue;
            };
            if !fine {
                let message = format!("there is no {what} `{}` (in line {})", token.text, tag.line);
                return Err(message);
            }
        }
        Ok(())
    })
}

/// Returns what an expression of the variable `name` says.
fn looks_up(environment: &Environment<'_>, name: &str, expression: &str) -> bool {
    let known = environment.compile_expression(expression);
    let known = known.and_then(|known| known.eval(minijinja::context! { name }));
    known.is_ok_and(|known| known.is_true())
}

#[cfg(test)]
mod tests;
