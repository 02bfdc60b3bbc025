//! Expressions that a front end wants evaluated after a cell.

use std::sync::Arc;

use super::Session;
use crate::out_of_memory::Held;
use crate::output::{Bundle, CellError, FrontEnd, Nowhere};
use crate::verdict::{Place, judge};

impl Session {
    /// The value of each expression, by name, or why there is none.
    pub(super) fn evaluate_expressions(
        &mut self,
        expressions: &[(String, String)],
    ) -> Vec<(String, Result<Bundle, CellError>)> {
        let Ok(engine) = &mut self.engine else {
            return Vec::new();
        };
        let nowhere: Arc<dyn FrontEnd> = Arc::new(Nowhere);
        expressions
            .iter()
            .map(|(name, code)| {
                let evaluation = engine.evaluate(code, &nowhere);
                let place = Place {
                    cell_name: "expression",
                    code,
                    typed: None,
                    compiled: None,
                    out_of_memory: false,
                    held: Held::default(),
                    has_run: true,
                };
                let value = match judge(&evaluation, &place).error {
                    Some(error) => Err(error),
                    None => Ok(evaluation.notes.last_bundle.unwrap_or_default()),
                };
                (name.clone(), value)
            })
            .collect()
    }
}
