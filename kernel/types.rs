//! How much rust-analyzer is told of Rust's standard library, and when.
//!
//! evcxr asks rust-analyzer for the types of variables that a cell defines. To read all of std takes
//! it seconds and hundreds of MB, and many a cell needs none of it. So it starts with nothing of std,
//! gets an outline of it (see `std_outline.rs`) when the session rests or a cell needs types, and the
//! whole source where a type does not follow from the outline, and for documentation.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use ra_ap_syntax::ast::{self, HasModuleItem};
use ra_ap_syntax::{AstNode, Edition, SourceFile, SyntaxKind};

use crate::std_outline;
use crate::std_source;
use crate::toolchain::Toolchain;
use crate::workdir::WorkDir;

/// How much of std rust-analyzer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Amount {
    /// Only that there are such crates.
    Nothing,
    /// What a user can name, with types and without bodies and documentation.
    Outline,
    /// All.
    Whole,
}

/// The source of std for rust-analyzer.
pub struct Types {
    amount: Amount,
    /// Where rust-analyzer looks: a link, or not there, which means into the toolchain.
    link: PathBuf,
    /// The folder of the kernel.
    folder: PathBuf,
    /// The kernel's folder for what outlives a session.
    cache: PathBuf,
    toolchain: Toolchain,
}

impl Types {
    /// Gives rust-analyzer nothing yet. `cache` is the kernel's folder for what outlives a session.
    ///
    /// # Errors
    /// Where the kernel's folder cannot be written.
    pub fn begin(cache: &Path, work_dir: &WorkDir, toolchain: &Toolchain) -> Result<Types> {
        let mut types = Types {
            amount: Amount::Whole,
            link: work_dir.std_source(),
            folder: work_dir.path().to_owned(),
            cache: cache.to_owned(),
            toolchain: toolchain.clone(),
        };
        if std::env::var_os(std_source::VARIABLE).is_some_and(|set| Path::new(&set) != types.link) {
            // The user has chosen a source.
            return Ok(types);
        }
        let nothing = types.folder.join("std-nothing");
        for (name, text) in [("core", "#![no_core]\n"), ("alloc", ""), ("std", "")] {
            let folder = nothing.join(name).join("src");
            std::fs::create_dir_all(&folder)
                .and_then(|()| std::fs::write(folder.join("lib.rs"), text))
                .with_context(|| format!("{} cannot be written", folder.display()))?;
        }
        types.lead_to(&nothing)?;
        types.amount = Amount::Nothing;
        Ok(types)
    }

    /// Makes anew what it has in the kernel's folder.
    ///
    /// # Errors
    /// Where that cannot be written.
    pub fn make_again(&mut self, work_dir: &WorkDir) -> Result<()> {
        let amount = self.amount;
        *self = Types::begin(&self.cache, work_dir, &self.toolchain)?;
        self.raise(amount);
        Ok(())
    }

    /// How much rust-analyzer has, or will have at its next use.
    pub fn amount(&self) -> Amount {
        self.amount
    }

    /// Provides at least that much. True if there is more than before, so that rust-analyzer must
    /// load it.
    pub fn raise(&mut self, amount: Amount) -> bool {
        if self.amount >= amount {
            return false;
        }
        let outline = match amount {
            Amount::Outline => {
                std_outline::provide(&self.cache, &self.toolchain).inspect_err(|error| {
                    eprintln!(
                        "memtrack-kernel: types of std come from its whole source: {error:#}"
                    );
                })
            }
            Amount::Nothing | Amount::Whole => Err(anyhow!("not wanted")),
        };
        self.amount = match outline.and_then(|outline| self.lead_to(&outline)) {
            Ok(()) => Amount::Outline,
            Err(_) => {
                if let Err(error) = self.provide_whole() {
                    eprintln!("memtrack-kernel: types of std may be unknown: {error:#}");
                }
                Amount::Whole
            }
        };
        true
    }

    fn provide_whole(&self) -> Result<()> {
        let apart = self.folder.join("std-apart");
        std_source::provide(&apart, &self.toolchain)?;
        if apart.exists() {
            return self.lead_to(&apart);
        }
        match std::fs::remove_file(&self.link) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn lead_to(&self, folder: &Path) -> Result<()> {
        let draft = self.link.with_extension("draft");
        let _ = std::fs::remove_file(&draft);
        symlink(folder, &draft)
            .and_then(|()| std::fs::rename(&draft, &self.link))
            .with_context(|| format!("{} cannot be made", self.link.display()))
    }
}

/// Whether evcxr will ask for a type that the cell does not write out.
pub fn needs_types(code: &str) -> bool {
    statements(code)
        .iter()
        .any(|statement| !is_typed(statement))
}

/// What stands before a cell where it is parsed.
pub const BEFORE: &str = "fn cell() {\n";

/// The statements by which a cell defines variables, in their places behind [`BEFORE`].
pub fn statements(code: &str) -> Vec<ast::LetStmt> {
    let blank = |line: &str| match is_command(line) {
        true => " ".repeat(line.trim_end_matches('\n').len()) + "\n",
        false => line.to_owned(),
    };
    let rust: String = code.split_inclusive('\n').map(blank).collect();
    let parsed = SourceFile::parse(&format!("{BEFORE}{rust}\n}}"), Edition::Edition2024);
    let function = parsed.tree().items().find_map(|item| match item {
        ast::Item::Fn(function) => function.body(),
        _ => None,
    });
    let statements = function.iter().flat_map(|body| body.statements());
    statements
        .filter_map(|statement| match statement {
            ast::Stmt::LetStmt(statement) => Some(statement),
            _ => None,
        })
        .collect()
}

/// Whether a line is a command of evcxr or of the shell.
pub fn is_command(line: &str) -> bool {
    line.starts_with('!') || line.trim_start_matches(' ').starts_with(':')
}

/// Whether a statement writes out the type of its one variable.
pub fn is_typed(statement: &ast::LetStmt) -> bool {
    let is_name = matches!(statement.pat(), Some(ast::Pat::IdentPat(_)));
    let is_whole = |ty: ast::Type| {
        ty.syntax()
            .descendants()
            .all(|node| node.kind() != SyntaxKind::INFER_TYPE)
    };
    is_name && statement.ty().is_some_and(is_whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_types_that_are_not_written_out_are_needed() {
        for code in [
            "1 + 1",
            "let x: u8 = 1;",
            "let mut v: Vec<(u8, String)> = Vec::new(); v.len()",
            ":dep regex = \"1\"\nfn f() { let x = 1; }",
            "if true { let x = 1; }",
            "// let x = 1;",
            "struct",
        ] {
            assert!(!needs_types(code), "{code}");
        }
        for code in [
            "let x = 1;",
            "use std::fmt;\nlet x = 1; x",
            "let v: Vec<_> = vec![1];",
            "let (a, b): (u8, u8) = (1, 2);",
            ":dep regex = \"1\"\nlet r = regex::Regex::new(\"a\");",
            "let x = 1",
        ] {
            assert!(needs_types(code), "{code}");
        }
    }
}
