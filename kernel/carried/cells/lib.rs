//! What the code of every cell has in common, compiled once for a toolchain instead of once more
//! with each cell.
//!
//! evcxr writes code around a cell that keeps its variables and shows what it ends in. Where the
//! kernel can, it has that code refer to this crate, which has the same names.

use std::fmt::Debug;
use std::io::{self, Write};

/// Shows the value that a cell ends in, if its type has no method of that name itself: a method of
/// the type comes before one of a trait.
pub trait Display {
    /// Writes the value to stdout as evcxr's protocol has it.
    fn evcxr_display(&self);
}

impl<T: Debug + ?Sized> Display for T {
    #[inline]
    fn evcxr_display(&self) {
        show(&self);
    }
}

#[inline(never)]
fn show(value: &dyn Debug) {
    let text = format!("EVCXR_BEGIN_CONTENT text/plain\n{value:?}\nEVCXR_END_CONTENT\n");
    if let Err(error) = io::stdout().lock().write_all(text.as_bytes()) {
        eprintln!("The value cannot be shown: {error}");
        std::process::exit(1);
    }
}

/// Pushes out what is left of an unfinished line: the cells' stdout is that of a library which only
/// code that is compiled for it can reach.
#[unsafe(no_mangle)]
pub extern "C" fn memtrack_flush_stdout() {
    let _ = io::stdout().flush();
}

/// Keeps variables between cells. It holds what evcxr's own holds, so that a cell compiled with that
/// one can follow a cell compiled with this one.
pub mod evcxr_internal_runtime {
    use std::any::{Any, TypeId};
    use std::collections::HashMap;
    use std::sync::Arc;

    /// Printed before the name of a variable that is there with another type.
    pub const VARIABLE_CHANGED_TYPE: &str = "EVCXR_VARIABLE_CHANGED_TYPE:";
    /// Printed where `?` ends a cell.
    pub const USER_ERROR_OCCURRED: &str = "EVCXR_ERROR_OCCURRED";

    /// The variables by name.
    pub struct VariableStore {
        variables: HashMap<String, Box<dyn Any + 'static>>,
    }

    impl VariableStore {
        /// Keeps a variable.
        #[inline]
        pub fn put_variable<T: 'static>(&mut self, name: &str, value: T) {
            self.put(name, Box::new(value));
        }

        /// Whether the variable, if it is there, has this type; says so if it has another.
        #[inline]
        pub fn check_variable<T: 'static>(&mut self, name: &str) -> bool {
            self.check(name, TypeId::of::<T>())
        }

        /// Takes a variable out. Panics where it is not there with this type.
        #[inline]
        pub fn take_variable<T: 'static>(&mut self, name: &str) -> T {
            match self.take(name).downcast() {
                Ok(value) => *value,
                Err(_) => fail("Variable changed type", ""),
            }
        }

        /// What is kept under a name for all cells, made where it is not there yet.
        pub fn lazy_arc<T: 'static, F: FnOnce() -> T>(&mut self, name: &str, create: F) -> Arc<T> {
            if !self.variables.contains_key(name) {
                self.put(name, Box::new(Arc::new(create())));
            }
            let kept = self.variables.get(name).and_then(|kept| kept.downcast_ref());
            kept.map_or_else(|| fail("Another type is kept as ", name), Arc::clone)
        }

        #[inline(never)]
        fn put(&mut self, name: &str, value: Box<dyn Any>) {
            self.variables.insert(name.to_owned(), value);
        }

        #[inline(never)]
        fn check(&self, name: &str, expected: TypeId) -> bool {
            let same = self.variables.get(name).is_none_or(|kept| (**kept).type_id() == expected);
            if !same {
                eprintln!("The type of the variable {name} was redefined, so was lost.");
                println!("{VARIABLE_CHANGED_TYPE}{name}");
            }
            same
        }

        #[inline(never)]
        fn take(&mut self, name: &str) -> Box<dyn Any> {
            let kept = self.variables.remove(name);
            kept.unwrap_or_else(|| fail("A variable has gone missing: ", name))
        }
    }

    #[cold]
    #[inline(never)]
    fn fail(what: &str, name: &str) -> ! {
        panic!("{what}{name}")
    }

    /// Makes the store, for as long as the process lives.
    pub fn create_variable_store() -> *mut VariableStore {
        let variables = HashMap::new();
        Box::into_raw(Box::new(VariableStore { variables }))
    }
}
