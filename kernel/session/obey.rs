//! What a session does for each magic line of a cell.

use std::sync::Arc;

use memtrack::budget::{Budget, Verdict as BudgetVerdict};
use memtrack::gpu_watch::FACTS_LIMIT;
use memtrack::magic::{Magic, TrackOptions};
use memtrack::text::wrap;

use super::{Mode, Session};
use crate::doctor;
use crate::output::{CellError, FrontEnd, Output, Stream, text_bundle};
use crate::show;

impl Session {
    /// Obeys one magic line: tracking and budgets are noted for the cell's code, all else is done.
    ///
    /// # Errors
    /// Where what it asks for cannot be done; the cell ends there.
    pub(super) fn obey(
        &mut self,
        magic: Magic,
        track: &mut Option<TrackOptions>,
        budgets: &mut Vec<Budget>,
        front_end: &Arc<dyn FrontEnd>,
    ) -> Result<(), CellError> {
        let bundle = match magic {
            Magic::Track(options) => {
                *track = Some(options);
                return Ok(());
            }
            Magic::Assert(budget) => {
                budgets.push(budget);
                return Ok(());
            }
            Magic::On { full } => {
                self.mode = if full { Mode::Full } else { Mode::Compact };
                return Ok(());
            }
            Magic::Off => {
                self.mode = Mode::Off;
                return Ok(());
            }
            Magic::Use(request) => return self.use_package(&request, front_end),
            Magic::Overview => show::overview(&self.ledger),
            Magic::Report { sort, cells } => show::report(&self.ledger, sort, cells),
            Magic::Plot { cells } => show::plot(&self.ledger, cells)
                .map_err(|reason| CellError::plain("PlotError", reason))?,
            Magic::Diff { first, second } => self.diff(first, second)?,
            Magic::Compare(paths) => self.compare(&paths)?,
            Magic::Export(request) => self.export(&request)?,
            Magic::Doctor => {
                let counted = self.heap_note().not_counted.is_none();
                let gpus = self.watcher.gpu_facts(FACTS_LIMIT);
                let cuda = doctor::cuda(&gpus);
                let checks = doctor::checks(self.parts.link.pid(), Some(counted), &cuda, &gpus);
                show::doctor(&checks, &self.environment(FACTS_LIMIT))
            }
            Magic::Trim => show::trim(&self.parts.link)
                .map_err(|reason| CellError::plain("TrimError", reason))?,
            Magic::List => show::list(),
            Magic::Help(text) => text_bundle(text),
        };
        front_end.show(Output::Display(bundle));
        Ok(())
    }

    /// Judges the last tracked cell by each budget.
    ///
    /// # Errors
    /// The first budget that was broken, or that cannot be judged.
    pub(super) fn check_budgets(
        &self,
        budgets: &[Budget],
        front_end: &Arc<dyn FrontEnd>,
    ) -> Result<(), CellError> {
        for budget in budgets {
            let Some(last) = self.ledger.last() else {
                return Err(CellError::plain(
                    "BudgetError",
                    "no cell was tracked yet, so there is nothing to check. Put %memtrack on top \
                     of the cell that the budget is for",
                ));
            };
            match budget.check(last) {
                BudgetVerdict::Pass(text) => {
                    front_end.show(Output::Text(Stream::Stdout, wrap(&text)));
                }
                BudgetVerdict::Fail(text) => return Err(CellError::plain("BudgetExceeded", text)),
                BudgetVerdict::Unknown(text) => {
                    return Err(CellError::plain("BudgetUnknown", text));
                }
            }
        }
        Ok(())
    }
}
