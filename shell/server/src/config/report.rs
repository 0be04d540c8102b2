//! The findings about a configuration: problems, which prevent startup, and warnings, which do not.

use std::fmt::{self, Display};
use std::path::{Path, PathBuf};

use super::tree::Place;

/// The problems of an invalid configuration, one line each.
///
/// A line begins with the place of the problem, if it has one: `file:line:column` or the name of the environment
/// variable.
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
            [one] => write!(f, "the configuration is invalid: {one}"),
            many => {
                write!(f, "the configuration is invalid, {} problems:", many.len())?;
                many.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

impl std::error::Error for ConfigError {}

/// Collects problems and warnings while a configuration is being read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    file: Option<PathBuf>,
    problems: Vec<String>,
    warnings: Vec<String>,
}

impl Report {
    pub(crate) fn new(file: Option<&Path>) -> Report {
        Report { file: file.map(Path::to_owned), ..Report::default() }
    }

    /// Adds a finding that prevents startup.
    pub(crate) fn problem(&mut self, place: &Place, text: impl Display) {
        let line = self.placed(place, text);
        self.problems.push(line);
    }

    /// Adds a finding that the administrator should know about.
    pub(crate) fn warn(&mut self, place: &Place, text: impl Display) {
        let line = self.placed(place, text);
        self.warnings.push(line);
    }

    /// The warnings, if there are no problems.
    pub(crate) fn finish(self) -> Result<Vec<String>, ConfigError> {
        if self.problems.is_empty() {
            Ok(self.warnings)
        } else {
            Err(ConfigError { problems: self.problems })
        }
    }

    /// The error with this problem added, for problems after which nothing more can be read.
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
