//! Describes an invalid command line in the same style as all other failures; clap's own messages have a different style.

use std::error::Error as _;

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// What is wrong with the command line.
pub fn sentence(e: &clap::Error) -> String {
    let first = |kind| context(e, kind).into_iter().next().unwrap_or_default();
    let (arg, value) = (first(ContextKind::InvalidArg), first(ContextKind::InvalidValue));
    match e.kind() {
        ErrorKind::ValueValidation => match e.source() {
            Some(why) if arg.starts_with('-') => format!("{}: {why}", flag(&arg)),
            Some(why) => why.to_string(),
            None => format!("`{value}` is not valid for `{arg}`"),
        },
        ErrorKind::InvalidValue if value.is_empty() => format!("`{}` needs a value", flag(&arg)),
        ErrorKind::InvalidValue => {
            let possible = context(e, ContextKind::ValidValue).join(", ");
            format!("`{value}` is not valid for `{arg}`; use one of: {possible}")
        }
        ErrorKind::UnknownArgument if arg.starts_with('-') => {
            with_hint(format!("unknown flag `{arg}`"), &context(e, ContextKind::SuggestedArg))
        }
        ErrorKind::UnknownArgument => format!("unexpected argument `{arg}`"),
        ErrorKind::InvalidSubcommand => {
            let command = first(ContextKind::InvalidSubcommand);
            with_hint(format!("unknown command `{command}`"), &context(e, ContextKind::SuggestedSubcommand))
        }
        ErrorKind::MissingRequiredArgument => match context(e, ContextKind::InvalidArg).as_slice() {
            [one] => format!("required argument missing: `{one}`"),
            many => format!("required arguments missing: {}", list(many, "and")),
        },
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            "a command is missing; --help lists the commands".to_owned()
        }
        ErrorKind::ArgumentConflict => match context(e, ContextKind::PriorArg) {
            prior if prior.is_empty() || prior.contains(&arg) => {
                format!("`{arg}` is given more than once")
            }
            prior => format!("`{arg}` cannot be combined with {}", list(&prior, "or")),
        },
        ErrorKind::NoEquals => format!("the value of `{arg}` must follow `=`, without a space"),
        ErrorKind::TooManyValues => format!("`{arg}` has too many values: `{value}`"),
        ErrorKind::TooFewValues | ErrorKind::WrongNumberOfValues => format!("`{arg}` needs more values"),
        ErrorKind::InvalidUtf8 => "the command line contains an argument that is not valid UTF-8".to_owned(),
        _ => "the command line is invalid; --help shows the usage".to_owned(),
    }
}

/// The usage line of the command that was typed, with ANSI colours, if clap knows which one that was.
pub fn usage(e: &clap::Error) -> Option<String> {
    match e.get(ContextKind::Usage) {
        Some(ContextValue::StyledStr(usage)) => Some(usage.ansi().to_string()),
        _ => None,
    }
}

fn context(e: &clap::Error, kind: ContextKind) -> Vec<String> {
    match e.get(kind) {
        Some(ContextValue::String(word)) => vec![word.clone()],
        Some(ContextValue::Strings(words)) => words.clone(),
        _ => Vec::new(),
    }
}

/// A flag without the placeholder of its value: `--id` from `--id <ID>`.
fn flag(arg: &str) -> &str {
    arg.split([' ', '=', '[']).next().unwrap_or(arg)
}

fn with_hint(message: String, similar: &[String]) -> String {
    if similar.is_empty() { message } else { format!("{message}; did you mean {}?", list(similar, "or")) }
}

/// Words in backticks: `` `a`, `b` and `c` ``.
fn list(words: &[String], conjunction: &str) -> String {
    let mut words: Vec<String> = words.iter().map(|w| format!("`{w}`")).collect();
    let Some(last) = words.pop() else { return String::new() };
    if words.is_empty() { last } else { format!("{} {conjunction} {last}", words.join(", ")) }
}
