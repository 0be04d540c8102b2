//! What is wrong with a command line, in the words of the other failures. What clap writes itself is of another style.

use std::error::Error as _;

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// What is wrong, in a sentence.
pub fn sentence(e: &clap::Error) -> String {
    let about = |kind| words(e, kind).into_iter().next().unwrap_or_default();
    let (arg, value) = (about(ContextKind::InvalidArg), about(ContextKind::InvalidValue));
    match e.kind() {
        ErrorKind::ValueValidation => match e.source() {
            Some(why) if arg.starts_with('-') => format!("{}: {why}", flag(&arg)),
            Some(why) => why.to_string(),
            None => format!("`{value}` does not fit `{arg}`"),
        },
        ErrorKind::InvalidValue if value.is_empty() => format!("`{}` needs a value", flag(&arg)),
        ErrorKind::InvalidValue => {
            let possible = words(e, ContextKind::ValidValue).join(", ");
            format!("`{value}` does not fit `{arg}`; use one of: {possible}")
        }
        ErrorKind::UnknownArgument => {
            let near = words(e, ContextKind::SuggestedArg);
            let kind = if arg.starts_with('-') { "there is no flag" } else { "this is a word too many:" };
            format!("{kind} `{arg}`{}", meant(&near))
        }
        ErrorKind::InvalidSubcommand => {
            let near = words(e, ContextKind::SuggestedSubcommand);
            format!("there is no command `{}`{}", about(ContextKind::InvalidSubcommand), meant(&near))
        }
        ErrorKind::MissingRequiredArgument => {
            format!("missing: {}", ticked(&words(e, ContextKind::InvalidArg), "and"))
        }
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            "say what to do: a command is missing; --help lists them".to_owned()
        }
        ErrorKind::ArgumentConflict => match words(e, ContextKind::PriorArg) {
            prior if prior.is_empty() || prior.contains(&arg) => {
                format!("`{arg}` is there twice; say it once")
            }
            prior => format!("`{arg}` and {} exclude each other; say one", ticked(&prior, "or")),
        },
        ErrorKind::NoEquals => format!("the value of `{arg}` must follow an equals sign, without a space"),
        ErrorKind::TooManyValues => format!("`{value}` is one value too many for `{arg}`"),
        ErrorKind::TooFewValues | ErrorKind::WrongNumberOfValues => format!("`{arg}` needs more values"),
        ErrorKind::InvalidUtf8 => "a word of the command line is not UTF-8".to_owned(),
        _ => "this command line cannot be read; --help tells how it should look".to_owned(),
    }
}

/// The usage of the command that was meant, with escape sequences for colours, where it is known.
pub fn usage(e: &clap::Error) -> Option<String> {
    match e.get(ContextKind::Usage) {
        Some(ContextValue::StyledStr(usage)) => Some(usage.ansi().to_string()),
        _ => None,
    }
}

fn words(e: &clap::Error, kind: ContextKind) -> Vec<String> {
    match e.get(kind) {
        Some(ContextValue::String(word)) => vec![word.clone()],
        Some(ContextValue::Strings(words)) => words.clone(),
        _ => Vec::new(),
    }
}

/// A flag without the name of its value.
fn flag(arg: &str) -> &str {
    arg.split([' ', '=', '[']).next().unwrap_or(arg)
}

fn meant(near: &[String]) -> String {
    if near.is_empty() { String::new() } else { format!("; {} may be meant", ticked(near, "or")) }
}

fn ticked(words: &[String], last: &str) -> String {
    words.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(&format!(" {last} "))
}
