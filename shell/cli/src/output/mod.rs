//! What comes out: for people a table or a line, for programs JSON or YAML; success to stdout, failure to stderr.

mod plain;
mod snippet;
mod table;
mod usage;
mod yaml;

use std::io::{self, Write};
use std::process::ExitCode;
use std::str::FromStr;

use clap::error::ErrorKind;
use headsail_api::Timestamp;
use headsail_api::client::ClientError;
use headsail_api::problem::Finding;
use serde::Serialize;
use serde_json::{Value, json};

pub use snippet::annotate;
pub use table::{Cell, Table};

/// How results are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// JSON over many lines, indented with tabs.
    Json,
    /// JSON on one line.
    JsonLine,
    /// YAML.
    Yaml,
}

impl FromStr for Format {
    type Err = String;
    fn from_str(text: &str) -> Result<Format, String> {
        match text {
            "" => Ok(Format::Text),
            "json" => Ok(Format::Json),
            "json-line" => Ok(Format::JsonLine),
            "yaml" => Ok(Format::Yaml),
            _ => Err(format!("`{text}` is not an output format; use json, json-line or yaml")),
        }
    }
}

/// What a command has to say: the same for programs and for people.
#[derive(Debug)]
pub struct Answer {
    value: Value,
    human: Human,
}

/// What people read.
#[derive(Debug)]
pub enum Human {
    /// Text.
    Text(String),
    /// A table.
    Table(Table),
    /// Text that programs get as it is, too: a policy, a script.
    Verbatim(String),
}

impl From<String> for Human {
    fn from(text: String) -> Human {
        Human::Text(text)
    }
}

impl From<&str> for Human {
    fn from(text: &str) -> Human {
        Human::Text(text.to_owned())
    }
}

impl From<Table> for Human {
    fn from(table: Table) -> Human {
        Human::Table(table)
    }
}

impl Answer {
    /// An answer; `value` is what programs get.
    pub fn new(value: &impl Serialize, human: impl Into<Human>) -> Answer {
        // Only maps with keys that are no strings cannot become JSON, and there are none.
        Answer { value: serde_json::to_value(value).unwrap_or_default(), human: human.into() }
    }

    /// Text that is the same in every format.
    pub fn verbatim(text: String) -> Answer {
        Answer { value: Value::Null, human: Human::Verbatim(text) }
    }

    /// An answer of a command that has said everything already.
    pub fn silent() -> Answer {
        Answer::verbatim(String::new())
    }

    /// The answer in a format, for people with escape sequences for colours.
    pub fn render(&self, format: Format) -> String {
        match (&self.human, format) {
            (Human::Verbatim(text), _) => text.clone(),
            (Human::Text(text), Format::Text) => plain::lines(text),
            (Human::Table(table), Format::Text) => table.to_string(),
            _ => encode(&self.value, format),
        }
    }

    /// Whether every byte counts, because programs read it.
    fn is_exact(&self, format: Format) -> bool {
        format != Format::Text || matches!(self.human, Human::Verbatim(_))
    }
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub struct Failure {
    /// A sentence.
    message: String,
    detail: Detail,
}

/// What there is to a failure besides its sentence.
#[derive(Debug)]
enum Detail {
    Nothing,
    /// Everything was said already.
    Told,
    /// The same for people, with what would have been right.
    Usage(String),
    /// What was found in a policy, its text, and where that was read.
    Policy {
        findings: Vec<Finding>,
        text: String,
        origin: String,
    },
    /// What is wrong with a configuration, and what else was found there.
    Configuration {
        findings: Vec<Finding>,
        warnings: Vec<String>,
    },
}

/// What a command comes to.
pub type Outcome = Result<Answer, Failure>;

impl Failure {
    /// A failure with a sentence.
    pub fn new(message: impl Into<String>) -> Failure {
        Failure { message: message.into(), detail: Detail::Nothing }
    }

    /// A failure that the log tells of.
    pub fn told() -> Failure {
        Failure { message: String::new(), detail: Detail::Told }
    }

    /// A command line that cannot be read.
    pub fn usage(e: &clap::Error) -> Failure {
        let message = plain::lines(&usage::sentence(e));
        let help = (e.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand)
            .then(|| e.render().ansi().to_string());
        let usage = || usage::usage(e).map(|usage| format!("Error: {message}\n\n{usage}"));
        let detail = help.or_else(usage).map_or(Detail::Nothing, Detail::Usage);
        Failure { message, detail }
    }

    /// A refusal of the policy `text` that was read from `origin`.
    pub fn of_policy(e: ClientError, text: &str, origin: &str) -> Failure {
        match e {
            ClientError::Refused(p) if !p.errors.is_empty() => {
                let (text, origin) = (text.to_owned(), origin.to_owned());
                Failure { message: p.detail, detail: Detail::Policy { findings: p.errors, text, origin } }
            }
            e => Failure::from(e),
        }
    }

    /// A configuration with which no server starts: `message`, then each of the problems.
    pub fn of_configuration(message: &str, problems: &[String], warnings: &[String]) -> Failure {
        let message = match problems {
            [one] => format!("{message}: {one}"),
            many => format!("{message}, {} problems", many.len()),
        };
        let finding = |problem: &String| Finding { message: problem.clone(), ..Finding::default() };
        let findings = problems.iter().map(finding).collect();
        Failure { message, detail: Detail::Configuration { findings, warnings: warnings.to_vec() } }
    }

    /// What programs get.
    fn value(&self) -> Value {
        match &self.detail {
            Detail::Nothing | Detail::Told | Detail::Usage(_) => json!({ "error": self.message }),
            Detail::Policy { findings, .. } => json!({ "error": self.message, "errors": findings }),
            Detail::Configuration { findings, warnings } => {
                json!({ "error": self.message, "errors": findings, "warnings": warnings })
            }
        }
    }

    /// What people read, with escape sequences for colours.
    fn human(&self) -> String {
        let drawn = match &self.detail {
            Detail::Nothing | Detail::Told => None,
            Detail::Usage(text) => Some(text.clone()),
            Detail::Policy { findings, text, origin } => annotate(findings, text, origin),
            Detail::Configuration { findings, warnings } => Some(problems(&self.message, findings, warnings)),
        };
        drawn.unwrap_or_else(|| format!("Error: {}", plain::lines(&self.message)))
    }

    /// The failure in a format.
    pub fn render(&self, format: Format) -> String {
        match format {
            Format::Text => self.human(),
            _ => encode(&self.value(), format),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(e: ClientError) -> Failure {
        Failure::new(e.to_string())
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Failure {
        Failure::new(message)
    }
}

/// Warnings, then the message, with the problems below it if they are many.
fn problems(message: &str, findings: &[Finding], warnings: &[String]) -> String {
    let mut lines: Vec<String> = warnings.iter().map(|warning| format!("warning: {warning}")).collect();
    match findings {
        [] | [_] => lines.push(format!("Error: {message}")),
        many => {
            lines.push(format!("Error: {message}:"));
            lines.extend(many.iter().map(|finding| format!("  {}", finding.message)));
        }
    }
    plain::lines(&lines.join("\n"))
}

/// Writes an answer to stdout.
pub fn print(answer: &Answer, format: Format) -> ExitCode {
    match answer.render(format) {
        text if text.is_empty() => ExitCode::SUCCESS,
        text if answer.is_exact(format) => write(&mut io::stdout().lock(), &text),
        text => show(&text),
    }
}

/// Writes text to stdout, without colours where they are not wanted.
pub fn show(text: &str) -> ExitCode {
    write(&mut anstream::stdout().lock(), text)
}

fn write(out: &mut impl Write, text: &str) -> ExitCode {
    let text = text.trim_end_matches('\n').as_bytes();
    match out.write_all(text).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of a pipe has what it wanted.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Writes a failure to stderr.
pub fn fail(failure: &Failure, format: Format) -> ExitCode {
    if matches!(failure.detail, Detail::Told) {
        return ExitCode::FAILURE;
    }
    let text = failure.render(format);
    // Nobody is left to be told when stderr is closed.
    let _ = match format {
        Format::Text => write(&mut anstream::stderr().lock(), &text),
        _ => write(&mut io::stderr().lock(), &text),
    };
    ExitCode::FAILURE
}

/// Writes a remark to stderr, for people only.
pub fn remark(text: &str) {
    let _ = write(&mut anstream::stderr().lock(), text);
}

/// A value for programs.
fn encode(value: &Value, format: Format) -> String {
    let encoded = match format {
        Format::JsonLine => Ok(value.to_string()),
        Format::Yaml => Ok(yaml::write(value)),
        Format::Text | Format::Json => {
            let mut out = Vec::new();
            let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
            let mut to = serde_json::Serializer::with_formatter(&mut out, formatter);
            match value.serialize(&mut to) {
                Ok(()) => String::from_utf8(out).map_err(|e| e.to_string()),
                Err(e) => Err(e.to_string()),
            }
        }
    };
    encoded.unwrap_or_else(|e| json!({ "error": e }).to_string())
}

/// A time as tables show it (UTC), or `-`.
pub fn time(t: Option<Timestamp>) -> String {
    t.map_or_else(|| "-".to_owned(), |t| t.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

/// A deadline as tables show it: green while it lies ahead, red when it has passed, `-` for none.
pub fn deadline(t: Option<Timestamp>, now: Timestamp) -> Cell {
    t.map_or_else(|| "-".into(), |at| Cell::judged(time(t), at > now))
}
