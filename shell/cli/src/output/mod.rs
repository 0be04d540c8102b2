//! Output. People get a table or a sentence, programs get JSON or YAML; results go to stdout, failures to stderr.

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
    /// Tables and sentences for people.
    #[default]
    Text,
    /// JSON over many lines, indented with tabs.
    Json,
    /// JSON on one line.
    JsonLine,
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

/// The result of a command, in a form for programs and one for people.
#[derive(Debug)]
pub struct Answer {
    value: Value,
    human: Human,
}

#[derive(Debug)]
pub enum Human {
    Text(String),
    Table(Table),
    /// Text that programs also get unchanged, such as a policy or a script.
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
    /// Creates an answer; programs get `value`.
    pub fn new(value: &impl Serialize, human: impl Into<Human>) -> Answer {
        // Only maps with keys other than strings cannot become JSON, and there are none.
        Answer { value: serde_json::to_value(value).unwrap_or_default(), human: human.into() }
    }

    /// Creates an answer that is the same text in every format.
    pub fn verbatim(text: String) -> Answer {
        Answer { value: Value::Null, human: Human::Verbatim(text) }
    }

    /// The answer of a command that has already written its output.
    pub fn silent() -> Answer {
        Answer::verbatim(String::new())
    }

    /// Renders the answer; text for people contains ANSI colours.
    pub fn render(&self, format: Format) -> String {
        match (&self.human, format) {
            (Human::Verbatim(text), _) => text.clone(),
            (Human::Text(text), Format::Text) => plain::lines(text),
            (Human::Table(table), Format::Text) => table.to_string(),
            _ => encode(&self.value, format),
        }
    }

    /// Whether the output must be written byte for byte, because a program may read it.
    fn is_exact(&self, format: Format) -> bool {
        format != Format::Text || matches!(self.human, Human::Verbatim(_))
    }
}

/// Why a command failed.
#[derive(Debug)]
pub struct Failure {
    message: String,
    detail: Detail,
}

/// What a failure shows besides its message.
#[derive(Debug)]
enum Detail {
    Nothing,
    /// Nothing: the failure is already in the log.
    Logged,
    /// For people, the whole text: the message and the correct usage.
    Usage(String),
    /// The findings in a policy, its text and the file it was read from.
    Policy {
        findings: Vec<Finding>,
        text: String,
        origin: String,
    },
    /// The problems of a configuration, and its warnings.
    Configuration {
        findings: Vec<Finding>,
        warnings: Vec<String>,
    },
}

pub type Outcome = Result<Answer, Failure>;

impl Failure {
    /// A failure with a message and no details.
    pub fn new(message: impl Into<String>) -> Failure {
        Failure { message: message.into(), detail: Detail::Nothing }
    }

    /// A failure that was already logged and is not shown again.
    pub fn logged() -> Failure {
        Failure { message: String::new(), detail: Detail::Logged }
    }

    /// An invalid command line.
    pub fn usage(e: &clap::Error) -> Failure {
        let message = plain::lines(&usage::sentence(e));
        let help = (e.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand)
            .then(|| e.render().ansi().to_string());
        let usage = || usage::usage(e).map(|usage| format!("Error: {message}\n\n{usage}"));
        let detail = help.or_else(usage).map_or(Detail::Nothing, Detail::Usage);
        Failure { message, detail }
    }

    /// The rejection of the policy `text`, which was read from `origin`.
    pub fn of_policy(e: ClientError, text: &str, origin: &str) -> Failure {
        match e {
            ClientError::Refused(p) if !p.errors.is_empty() => {
                let (text, origin) = (text.to_owned(), origin.to_owned());
                Failure { message: p.detail, detail: Detail::Policy { findings: p.errors, text, origin } }
            }
            e => Failure::from(e),
        }
    }

    /// An unusable configuration: `message`, with the problem or the number of problems.
    pub fn of_configuration(message: &str, problems: &[String], warnings: &[String]) -> Failure {
        let message = match problems {
            [one] => format!("{message}: {one}"),
            many => format!("{message} ({} problems)", many.len()),
        };
        let finding = |problem: &String| Finding { message: problem.clone(), ..Finding::default() };
        let findings = problems.iter().map(finding).collect();
        Failure { message, detail: Detail::Configuration { findings, warnings: warnings.to_vec() } }
    }

    fn value(&self) -> Value {
        match &self.detail {
            Detail::Nothing | Detail::Logged | Detail::Usage(_) => json!({ "error": self.message }),
            Detail::Policy { findings, .. } => json!({ "error": self.message, "errors": findings }),
            Detail::Configuration { findings, warnings } => {
                json!({ "error": self.message, "errors": findings, "warnings": warnings })
            }
        }
    }

    /// The text for people, with ANSI colours.
    fn human(&self) -> String {
        let drawn = match &self.detail {
            Detail::Nothing | Detail::Logged => None,
            Detail::Usage(text) => Some(text.clone()),
            Detail::Policy { findings, text, origin } => annotate(findings, text, origin),
            Detail::Configuration { findings, warnings } => Some(problems(&self.message, findings, warnings)),
        };
        drawn.unwrap_or_else(|| format!("Error: {}", plain::lines(&self.message)))
    }

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

/// The warnings, then the message. Several problems follow as a list; a single one is part of the message.
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

/// Writes text to stdout, and strips colours if stdout is not a terminal that shows them.
pub fn show(text: &str) -> ExitCode {
    write(&mut anstream::stdout().lock(), text)
}

fn write(out: &mut impl Write, text: &str) -> ExitCode {
    let text = text.trim_end_matches('\n').as_bytes();
    match out.write_all(text).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of the pipe, such as `head`, has all it needs.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Writes one of several results to stdout. False if nobody reads it any more.
pub fn stream(text: &str) -> bool {
    let text = plain::lines(text);
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()).is_ok()
}

/// Writes a failure to stderr.
pub fn fail(failure: &Failure, format: Format) -> ExitCode {
    if matches!(failure.detail, Detail::Logged) {
        return ExitCode::FAILURE;
    }
    let text = failure.render(format);
    // If stderr is closed there is nowhere left to report to.
    let _ = match format {
        Format::Text => write(&mut anstream::stderr().lock(), &text),
        _ => write(&mut io::stderr().lock(), &text),
    };
    ExitCode::FAILURE
}

/// Writes a note or warning for people to stderr.
pub fn remark(text: &str) {
    let _ = write(&mut anstream::stderr().lock(), text);
}

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

/// Formats a time for a table, in UTC; `-` for none.
pub fn time(t: Option<Timestamp>) -> String {
    t.map_or_else(|| "-".to_owned(), |t| t.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

/// Formats a deadline for a table: green while it is in the future, red once it has passed, `-` for none.
pub fn deadline(t: Option<Timestamp>, now: Timestamp) -> Cell {
    t.map_or_else(|| "-".into(), |at| Cell::judged(time(t), at > now))
}
