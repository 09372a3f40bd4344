//! Diagnostics: what they are, and the only place that draws them.

use plans::file::{OutputError, replace_file};
use serde::Serialize;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

/// Exit status: the answer is no.
pub const NO: u8 = 1;
/// Exit status: the command failed.
pub const FAILURE: u8 = 2;

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    /// Nothing was done.
    Error,
    /// It was done, but not as one might think.
    Warning,
}

/// Something that the user should know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    /// A stable name: `unsupported-operator`.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What happened, in one line.
    pub message: String,
    /// Where: `model resnet50`, `file a.onnx`.
    pub location: Vec<String>,
    /// More about it, each in a line or several.
    pub notes: Vec<String>,
    /// What to do next.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error of this code.
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            message: message.into(),
            location: vec![],
            notes: vec![],
            help: None,
        }
    }

    /// A warning of this code.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(code, message)
        }
    }

    /// The same at `place`.
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.location.push(place.into());
        self
    }

    /// The same with `note`.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// The same with the next step.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The text that is drawn.
    pub fn text(&self) -> String {
        let kind = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let mut text = format!("{kind}[{}]: {}\n", self.code, self.message);
        let lines = [("-->", &self.location), ("  =", &self.notes)];
        for (mark, items) in lines {
            for item in items {
                let indented = item.replace('\n', "\n      ");
                let _ = writeln!(text, "  {mark} {indented}");
            }
        }
        if let Some(help) = &self.help {
            let _ = writeln!(text, "  help: {help}");
        }
        text
    }
}

impl Diagnostic {
    /// The error `e` under `code`, with its chain of causes as notes.
    pub fn from_error(code: &'static str, e: &dyn std::error::Error) -> Self {
        let mut diagnostic = Self::error(code, e.to_string());
        let mut source = e.source();
        while let Some(cause) = source {
            diagnostic.notes.push(cause.to_string());
            source = cause.source();
        }
        diagnostic
    }
}

impl From<onnx::OnnxError> for Diagnostic {
    fn from(e: onnx::OnnxError) -> Self {
        let mut diagnostic = Self::from_error(e.code(), &e);
        diagnostic.help = e.help().map(Into::into);
        diagnostic
    }
}

impl From<models::FillError> for Diagnostic {
    fn from(e: models::FillError) -> Self {
        let mut diagnostic = Self::from_error("fill", &e);
        diagnostic.help = e.help().map(Into::into);
        diagnostic
    }
}

impl From<passes::PassError> for Diagnostic {
    fn from(e: passes::PassError) -> Self {
        Self::from_error("pass", &e)
            .help("this is a defect of dlirc; `--stop-after N` finds the change that causes it")
    }
}

impl From<passes::lower::LowerError> for Diagnostic {
    fn from(e: passes::lower::LowerError) -> Self {
        use passes::lower::LowerError;
        let diagnostic = Self::from_error("lower", &e);
        match e {
            LowerError::UnknownShape { .. } => diagnostic.help(
                "bind the dimensions that the model leaves open, such as `--shape input=1,3,224,224` or `--shape batch=1`",
            ),
            LowerError::Build { .. } => diagnostic.help("`dlirc explain` shows what the compiler made of the node"),
        }
    }
}

impl From<plans::file::WriteError> for Diagnostic {
    fn from(e: plans::file::WriteError) -> Self {
        Self::error("write", e.to_string())
            .help("nothing was written; an older file of that name is as it was")
    }
}

impl From<runtime::LoadError> for Diagnostic {
    fn from(e: runtime::LoadError) -> Self {
        let diagnostic = Self::error("plan", e.to_string());
        match &e {
            runtime::LoadError::File(file) => diagnostic.help(file.help()),
            runtime::LoadError::Io { .. } => diagnostic.help("check the path and its permissions"),
            runtime::LoadError::Plan(_) => diagnostic.help("compile the models again"),
            runtime::LoadError::OutOfMemory { .. } => diagnostic,
        }
    }
}

impl From<runtime::BindError> for Diagnostic {
    fn from(e: runtime::BindError) -> Self {
        let mut diagnostic = match &e {
            runtime::BindError::File { path, error } => {
                Self::error("plan", error.to_string()).at(format!("file {}", path.display()))
            }
            _ => Self::from_error("bind", &e),
        };
        diagnostic.help = e.help().map(Into::into);
        diagnostic
    }
}

impl From<runtime::PortError> for Diagnostic {
    fn from(e: runtime::PortError) -> Self {
        Self::from_error("port", &e)
    }
}

impl From<runtime::RunError> for Diagnostic {
    fn from(e: runtime::RunError) -> Self {
        let mut diagnostic = Self::from_error("run", &e);
        diagnostic.help = e.help().map(Into::into);
        diagnostic
    }
}

/// Writes data to stdout. A reader that has gone away is no error.
///
/// # Errors
/// When stdout can't be written for another reason.
pub fn data(bytes: &[u8]) -> Result<(), Diagnostic> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Diagnostic::error(
            "stdout",
            format!("standard output can't be written: {e}"),
        )),
        _ => Ok(()),
    }
}

/// Writes `value` as JSON to stdout, for people and scripts.
///
/// # Errors
/// As [`data`], or when the value has no JSON.
pub fn data_json(value: &impl Serialize) -> Result<(), Diagnostic> {
    data(&json(value)?)
}

/// Makes or replaces the file at `path` with `value` as JSON.
///
/// # Errors
/// As [`write_file`], or when the value has no JSON.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Diagnostic> {
    write_file(path, &json(value)?)
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, Diagnostic> {
    let mut text =
        serde_json::to_vec_pretty(value).map_err(|e| Diagnostic::error("json", e.to_string()))?;
    text.push(b'\n');
    Ok(text)
}

/// Makes or replaces the file at `path`, whole or not at all.
///
/// # Errors
/// When the system refuses; what was there is as it was.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Diagnostic> {
    let failed = |e: OutputError| {
        Diagnostic::error("write", e.to_string())
            .help("nothing was written; an older file of that name is as it was")
    };
    replace_file::<OutputError>(path, |out| {
        out.write_all(bytes).map_err(|e| OutputError::new(path, e))
    })
    .map_err(failed)
}

/// Shows `diagnostic` on stderr.
#[allow(
    clippy::print_stderr,
    reason = "diagnostics are drawn here and nowhere else"
)]
pub fn draw(diagnostic: &Diagnostic) {
    eprint!("{}", diagnostic.text());
}

/// Says something to the person at the terminal, on stderr.
#[allow(clippy::print_stderr, reason = "talk goes to stderr, through here")]
pub fn say(line: &str) {
    eprintln!("{line}");
}
