"""The cells of `same_cells.py`, in sessions, with the differences that are meant and their reasons."""

import dataclasses


@dataclasses.dataclass
class Cell:
    """A cell, and why it differs, by the kind of difference."""

    code: str
    differs: dict = dataclasses.field(default_factory=dict)


def cells(*codes):
    return [code if isinstance(code, Cell) else Cell(code) for code in codes]


PANIC = "a panic fails the cell, so that Run All stops; its message is the error"
FAILED = "an error that `?` returns fails the cell, so that Run All stops"
COMMAND = "what a command says is printed, or displayed if it has HTML: only a value is a result"
UNIT = "`()` is no result"
PARTIAL = "text without a newline at its end shows at once, not before the next newline"
KILLED = "the error says how the process ended, and which variables are lost"
DISPLAYS = "each of several displays is kept, in order; a display is no result"
WARNING = "a warning is no error"
NOT_TEXT = "bytes that are not UTF-8 are replaced, and the cell goes on"
LINE = "the generated source has one line more"
END = "points at the end of the cell, where the semicolon is missing"
PLACED = "the code and the place are told of every error, also of commands and of lines with other letters"
HELP = "the compiler's suggestion is underlined at its place"
GENERATED = "an error in the code that evcxr generates comes as the compiler drew it"
DEREF = "what is not `Debug` itself is shown as what it dereferences to"
TRAIT = "a trait of the user with the name of evcxr's method is in the way of no other value"
OVERFLOW = "a stack overflow is told by its name"


def panics(code):
    return Cell(code, dict.fromkeys(("status", "stderr", "message"), PANIC))


def fails(code):
    return Cell(code, dict.fromkeys(("status", "stderr", "message"), FAILED))


def command(code):
    return Cell(code, {"stdout": COMMAND, "outputs": COMMAND})


def displays(code):
    return Cell(code, {"outputs": DISPLAYS})


def unit(code):
    return Cell(code, {"outputs": UNIT})


def killed(code, **more):
    return Cell(code, {"message": KILLED, **more})


VARIABLES = cells(
    "let mut numbers = vec![1, 2, 3];",
    "numbers.push(4); numbers.len()",
    'println!("{numbers:?}");',
    "let moved = numbers;",
    "numbers.len()",
    "moved.len()",
    'let moved = "shadowed";',
    "moved",
    "let (left, right) = (1u8, 'r');",
    "(left, right)",
    "let x = 5; let y = x * 2; y",
    "x + y",
    "fn twice(x: i32) -> i32 { x * 2 }",
    "twice(4)",
    'fn twice(x: i32) -> String { format!("{x}{x}") }',
    "twice(4)",
    "const LIMIT: u32 = 10;",
    "LIMIT",
    "const LIMIT: u32 = 20;",
    "LIMIT + 1",
    "struct Held { a: i32 }",
    "let held = Held { a: 1 };",
    "struct Held { a: i32, b: i32 }",
    "held.a",
    "let held = Held { a: 1, b: 2 }; held.a + held.b",
    "static mut COUNTER: u32 = 0;",
    "unsafe { COUNTER += 1; let now = COUNTER; now }",
    "unsafe { COUNTER += 1; let now = COUNTER; now }",
    "let größe = 3; let 数 = 4; größe + 数",
    "größe",
    'let text = "Ünïcödé 🦀 \\u{1F600}"; text',
    Cell("let borrowed = &x;", {"places": PLACED}),
    "let boxed: Box<dyn Fn(i32) -> i32> = Box::new(move |n| n + x);",
    "boxed(10)",
    Cell("let closure = |n: i32| n + 1;", {"codes": GENERATED}),
    "use std::rc::Rc; use std::cell::RefCell;",
    "let shared = Rc::new(RefCell::new(vec![1]));",
    "let other = Rc::clone(&shared); other.borrow_mut().push(2);",
    "shared.borrow().len() + Rc::strong_count(&shared)",
    Cell(":vars", {"outputs": COMMAND}),
    Cell(":type x", {"outputs": COMMAND}),
    ":clear",
    "x",
)

ITEMS = cells(
    "use std::collections::*;",
    "let map: BTreeMap<u8, &str> = BTreeMap::from([(1, \"a\")]); map",
    "macro_rules! add { ($($x:expr),*) => { 0 $(+ $x)* } }",
    "add!(1, 2, 3)",
    "#[derive(Debug, Clone, PartialEq, Default)] struct Point { x: i32, y: i32 }",
    "Point::default()",
    "impl Point { fn sum(&self) -> i32 { self.x + self.y } }",
    "impl Point { fn swap(self) -> Point { Point { x: self.y, y: self.x } } }",
    "let p = Point { x: 1, y: 2 }; p.clone().swap().sum()",
    "p.swap()",
    "trait Area { fn area(&self) -> f64; fn twice(&self) -> f64 { self.area() * 2.0 } }",
    "struct Square(f64); impl Area for Square { fn area(&self) -> f64 { self.0 * self.0 } }",
    "Square(3.0).twice()",
    "fn largest<T: PartialOrd + Copy>(all: &[T]) -> T { let mut best = all[0]; for &one in all { if one > best { best = one; } } best }",
    "largest(&[1.5, 2.5])",
    "struct Grid<const N: usize> { cells: [u8; N] }",
    "impl<const N: usize> Grid<N> { fn size(&self) -> usize { N } }",
    "Grid { cells: [0; 7] }.size()",
    "mod outer { pub mod inner { pub fn name() -> &'static str { \"inner\" } } }",
    "outer::inner::name()",
    "use outer::inner::name; name()",
    "extern crate alloc;",
    Cell("alloc::vec![1, 2]", {"message": WARNING}),
    "#![allow(unused_variables)]\nlet unused = 1;",
    "#[inline] fn attributed() -> u8 { 9 }",
    "attributed()",
    "enum Tree { Leaf, Node(Box<Tree>, Box<Tree>) }",
    "fn depth(tree: &Tree) -> usize { match tree { Tree::Leaf => 0, Tree::Node(a, b) => 1 + depth(a).max(depth(b)) } }",
    "depth(&Tree::Node(Box::new(Tree::Leaf), Box::new(Tree::Node(Box::new(Tree::Leaf), Box::new(Tree::Leaf)))))",
    "type Pair = (i32, i32);",
    "let pair: Pair = (1, 2); pair.0",
    "struct Loud(&'static str); impl Drop for Loud { fn drop(&mut self) { println!(\"drop {}\", self.0); } }",
    "let first = Loud(\"first\"); let second = Loud(\"second\"); println!(\"made\");",
    unit("{ let _a = Loud(\"a\"); let _b = Loud(\"b\"); println!(\"inside\"); }"),
    "drop(first);",
    "let second = 1;",
    "std::thread::scope(|s| { let t = s.spawn(|| 42); t.join().unwrap() })",
    "let handles: Vec<_> = (0..3).map(|i| std::thread::spawn(move || i * i)).collect(); handles.into_iter().map(|h| h.join().unwrap()).sum::<i32>()",
    "impl std::fmt::Display for Point { fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result { write!(f, \"<{}>\", self.x) } }",
    "Point { x: 8, y: 0 }.to_string()",
)

VALUES = cells(
    "1 + 1",
    "255u8",
    "2.5f64 * 2.0",
    "f32::NAN",
    unit("()"),
    "true",
    "'x'",
    'String::from("owned")',
    '"borrowed"',
    "vec![1, 2, 3]",
    "Some(5)",
    "None::<i32>",
    "Ok::<i32, String>(1)",
    '(1, "two", 3.0)',
    "[1, 2, 3]",
    "&[1, 2][..]",
    "&5",
    'std::collections::HashMap::from([("key", 1)])',
    "struct Silent;",
    "Silent",
    "let silent = Silent; silent",
    "struct Shown; impl Shown { fn evcxr_display(&self) { println!(\"EVCXR_BEGIN_CONTENT text/html\\n<b>shown</b>\\nEVCXR_END_CONTENT\"); } }",
    "Shown",
    "struct Wraps(Vec<i32>); impl std::ops::Deref for Wraps { type Target = Vec<i32>; fn deref(&self) -> &Vec<i32> { &self.0 } }",
    Cell("Wraps(vec![1])", dict.fromkeys(("status", "outputs", "codes", "message"), DEREF)),
    displays('println!("EVCXR_BEGIN_CONTENT text/html\\n<i>one</i>\\nEVCXR_END_CONTENT"); println!("EVCXR_BEGIN_CONTENT text/html\\n<i>two</i>\\nEVCXR_END_CONTENT");'),
    displays('println!("EVCXR_BEGIN_CONTENT text/html\\n<i>html</i>\\nEVCXR_END_CONTENT\\nEVCXR_BEGIN_CONTENT text/plain\\nplain\\nEVCXR_END_CONTENT");'),
    '*"abc"',
    unit("for i in 0..2 { println!(\"{i}\"); }"),
    unit("if 1 + 1 == 2 { println!(\"two\"); }"),
    "if 1 + 1 == 2 { 10 } else { 20 }",
    "match 3 { 3 => \"three\", _ => \"other\" }",
    "{ let a = 1; a + 1 }",
    unit("{ 5; }"),
    "5;",
    Cell("let unused = 6", {"places": END, "message": END}),
    "1 + 1 // two",
    "1 + 1 /* two */",
    "// only a comment",
    "",
    "   ",
    'r#"raw // not a comment "quoted" "#',
    'r"a // b".len()',
    "let chain = (0..5)\n    .map(|x| x * 2)\n    .collect::<Vec<i32>>();\nchain",
    "loop { break 7 }",
    "|x: i32| x + 1",
    "(|x: i32| x + 1)(1)",
    "async { 1 }",
    "std::time::Duration::from_millis(1500)",
    "\"" + "long" * 3000 + "\".len()",
    "1 + " * 300 + "1",
    "Box::new(5) as Box<dyn std::any::Any>",
    "Box::new(5) as Box<dyn std::fmt::Debug>",
    "\"two\\nlines\"",
    'String::from("<b>&amp;")',
    "trait Display2 { fn evcxr_display(&self); }",
    "#[derive(Debug)] struct Both(i32); impl Display2 for Both { fn evcxr_display(&self) { println!(\"EVCXR_BEGIN_CONTENT text/plain\\nby trait {}\\nEVCXR_END_CONTENT\", self.0); } }",
    "Both(1)",
    "&Both(2)",
    Cell("vec![Both(3)]", dict.fromkeys(("status", "outputs", "message"), TRAIT)),
)

PRINTS = cells(
    Cell('print!("no newline");', {"stdout": PARTIAL}),
    Cell('print!("a"); print!("b"); println!("c"); print!("d");', {"stdout": PARTIAL}),
    'eprintln!("to stderr");',
    Cell('eprint!("no newline on stderr");', {"stderr": PARTIAL}),
    Cell('println!("out"); eprintln!("err"); println!("out again"); 5', {"stdout": PARTIAL, "stderr": PARTIAL}),
    'println!("before"); 1 + 1',
    'dbg!(1 + 1)',
    unit('for i in 0..200 { println!("{i}"); }'),
    'println!("\\x1b[31mred\\x1b[0m");',
    'println!("tab\\tand \\r carriage");',
    'println!();',
    'println!("\\n\\n");',
    "std::process::Command::new(\"echo\").arg(\"from a child\").status().unwrap().success()",
    'std::thread::spawn(|| println!("in a thread")).join().unwrap();',
    # Last, because after it the answers of evcxr_jupyter come one cell late.
    Cell(
        "use std::io::Write; std::io::stdout().write_all(&[0x66, 0xff, 0x66, 0x0a]).unwrap();",
        dict.fromkeys(("status", "stdout", "message"), NOT_TEXT),
    ),
)

ENVIRONMENT = cells(
    'env!("CARGO_PKG_NAME")',
    'option_env!("NOT_THERE_AT_ALL")',
    "file!()",
    Cell("line!()", {"outputs": LINE}),
    "module_path!()",
    'include_str!("/etc/os-release").len() > 10',
    "std::env::args().count()",
    "std::env::current_dir().unwrap()",
    command(":fmt {:#?}"),
    "(1, Some(2))",
    command(":fmt {:?}"),
    command(":types"),
    "vec![1u8]",
    command(":types"),
    command(":efmt {}"),
    'fn fails() -> Result<(), String> { Err("by display".into()) }',
    fails("fails()?;"),
    command(":efmt {:?}"),
    fails("fails()?;"),
    command(":opt 0"),
    "cfg!(debug_assertions)",
    panics("200u8 + std::hint::black_box(100u8)"),
    command(":opt 2"),
    "1 + 1",
    command(":opt 9"),
    "1 + 1",
    command(":opt 2"),
    Cell(":unknown", {"places": PLACED}),
    command(":version"),
    ":show_deps",
    command(":timing"),
    command(":timing"),
    Cell(":explain", {"places": PLACED}),
    command(":env NOT_THERE=here"),
    'std::env::var("NOT_THERE")',
    Cell(":type nothing", {"places": PLACED}),
    command(":preserve_vars_on_panic 1"),
)

ERRORS = cells(
    "undefined_variable",
    "let a = 1;\nlet b = 2;\nlet c: String = a + b;",
    "let text: &str = 5;",
    Cell("let mut list = vec![1]; let first = &list[0]; list.push(2); println!(\"{first}\");", {"places": HELP}),
    Cell("let s = String::from(\"a\"); let t = s; println!(\"{s}\");", {"places": HELP}),
    Cell("let missing = 1 let semicolon = 2;", {"places": HELP}),
    "println!(\"unclosed\"",
    "vec![1].no_such_method()",
    "let one: i32 = \"a\"; let two: u8 = \"b\";",
    "undefined_one + undefined_two",
    "fn broken() -> i32 { \"text\" }",
    Cell("fn generic<T>(value: T) -> T { value + 1 }", {"places": HELP}),
    "fn fine(x: i32) -> i32 { x }",
    "fine(\"text\")",
    "fine(1, 2)",
    "no_such_macro!(1)",
    "use no_such_crate::thing;",
    "use std::collections::NoSuch;",
    "struct Twice; struct Twice;",
    Cell("match Some(1) { None => 0 }", {"places": HELP}),
    "let n: u8 = 256;",
    "#[derive(NoSuchDerive)] struct S;",
    "impl NoSuchTrait for i32 {}",
    Cell("fn f() { let x: i32 = 1; x = 2; println!(\"{x}\"); }", {"message": WARNING, "places": WARNING}),
    Cell("let ünïcödé = 1; ünïcödé + \"🦀\"", {"codes": PLACED, "places": PLACED}),
    "println!(\"{}\", undefined_in_macro);",
    Cell("println!(\"{} {}\", 1);", {"places": HELP}),
    "'ab'",
    "1 + ",
    "}",
    Cell("let r; { let local = 5; r = &local; } println!(\"{r}\");", {"places": PLACED}),
    "std::thread::spawn(|| { let rc = std::rc::Rc::new(1); rc }).join()",
    Cell(":dep no-such-crate-at-all-xyz = \"=99.0.0\"", {"places": PLACED}),
    "fine(3)",
    "#[deprecated] fn old() {} old();",
    "let unused_variable_gives_no_warning = 1;",
    "return 5;",
    "break;",
    "let x: impl Fn() = || {};",
)

ENDINGS = cells(
    "let kept = vec![1, 2, 3];",
    panics("let before = 1; panic!(\"on purpose\");"),
    "kept.len()",
    "before",
    panics("panic!(\"as an expression\")"),
    "kept.len()",
    panics("let numbers: Vec<i32> = vec![]; numbers[std::hint::black_box(3)]"),
    panics("let n: i32 = std::hint::black_box(i32::MAX); n + 1"),
    panics("1 / std::hint::black_box(0)"),
    panics("None::<i32>.unwrap()"),
    panics("Err::<i32, &str>(\"bad\").expect(\"was bad\")"),
    "\"12\".parse::<i32>()? + 1",
    fails("\"twelve\".parse::<i32>()?"),
    "let parsed = \"7\".parse::<i32>()?;",
    "parsed",
    fails("let failed = \"seven\".parse::<i32>()?;"),
    "kept.len()",
    "std::thread::spawn(|| panic!(\"in a thread\")).join().is_err()",
    "std::panic::catch_unwind(|| panic!(\"caught\")).is_err()",
    panics("todo!()"),
    panics("unreachable!(\"at {}\", 1)"),
    panics("assert_eq!(1, 2, \"not equal\");"),
    "kept.len()",
    killed("std::process::exit(3);"),
    "kept.len()",
    "let again = 1;",
    "fn deep(n: u64) -> u64 { if n == 0 { 0 } else { 1 + deep(std::hint::black_box(n) - 1) + std::hint::black_box(n) } }",
    killed("deep(100_000_000)", stderr=OVERFLOW),
    "again",
    killed("std::process::abort();"),
    "1 + 1",
    killed("unsafe { *std::hint::black_box(std::ptr::null::<i32>()) }"),
    "2 + 2",
)

ASYNC = cells(
    "async fn later(x: i32) -> i32 { x + 1 }",
    "later(1).await",
    "let awaited = later(2).await;",
    "awaited",
    "async fn may_fail(fail: bool) -> Result<i32, String> { if fail { Err(\"failed later\".into()) } else { Ok(1) } }",
    "may_fail(false).await?",
    fails("may_fail(true).await?"),
    "awaited",
)

SESSIONS = {
    "variables": VARIABLES,
    "items": ITEMS,
    "values": VALUES,
    "prints": PRINTS,
    "environment": ENVIRONMENT,
    "errors": ERRORS,
    "endings": ENDINGS,
    "async": ASYNC,
}
