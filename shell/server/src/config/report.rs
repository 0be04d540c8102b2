//! What the reading of a configuration found: problems that forbid a start, and warnings that don't.

use std::fmt::{self, Display};
use std::path::{Path, PathBuf};

use super::tree::Place;

/// Everything that is wrong with a configuration, one line per problem.
///
/// Each line begins with the place (`file:line:column` or the environment variable) where there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    problems: Vec<String>,
}

impl ConfigError {
    /// The problems, in the order of the checks; never empty.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

impl Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.as_slice() {
            [one] => write!(f, "the configuration is not usable: {one}"),
            many => {
                write!(f, "the configuration is not usable, {} problems:", many.len())?;
                many.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

impl std::error::Error for ConfigError {}

/// Collects problems and warnings while a configuration is read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    file: Option<PathBuf>,
    problems: Vec<String>,
    warnings: Vec<String>,
}

impl Report {
    /// An empty report on this file, or on no file.
    pub(crate) fn new(file: Option<&Path>) -> Report {
        Report { file: file.map(Path::to_owned), ..Report::default() }
    }

    /// Notes something that forbids a start.
    pub(crate) fn problem(&mut self, place: &Place, text: impl Display) {
        let line = self.placed(place, text);
        self.problems.push(line);
    }

    /// Notes something the user should know.
    pub(crate) fn warn(&mut self, place: &Place, text: impl Display) {
        let line = self.placed(place, text);
        self.warnings.push(line);
    }

    /// The warnings if there was no problem.
    pub(crate) fn finish(self) -> Result<Vec<String>, ConfigError> {
        if self.problems.is_empty() {
            Ok(self.warnings)
        } else {
            Err(ConfigError { problems: self.problems })
        }
    }

    /// Ends the reading with this problem.
    pub(crate) fn fail(mut self, place: &Place, text: impl Display) -> ConfigError {
        self.problem(place, text);
        ConfigError { problems: self.problems }
    }

    fn placed(&self, place: &Place, text: impl Display) -> String {
        match (place, &self.file) {
            (Place::Env(name), _) => format!("{name}: {text}"),
            (Place::File { line, column }, Some(file)) => {
                format!("{}:{line}:{column}: {text}", file.display())
            }
            (Place::File { line, column }, None) => format!("{line}:{column}: {text}"),
            (Place::Absent, Some(file)) => format!("{}: {text}", file.display()),
            (Place::Absent, None) => text.to_string(),
        }
    }
}
