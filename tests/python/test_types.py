"""Types of variables, from the outline of std that rust-analyzer is given: the same as from all of it.

And from what comes before the outline (rustc tells the types) and after it (the whole source).
"""

import html
import re

import pytest

import processes
from kernel_session import Session

# What a cell may begin a variable with, and the type that rust-analyzer tells with the whole source
# of std.
TYPES = {
    'std::process::Command::new("true").output().is_ok()': "bool",
    "m.keys().cloned().collect::<Vec<_>>()": "Vec<String>",
    "v.chunks(2).map(|c| c.to_vec()).collect::<Vec<_>>()": "Vec<Vec<i32>>",
    "std::hash::RandomState::new()": "hash_map::RandomState",
    "String::from_utf8_lossy(&[65, 66]).into_owned()": "String",
    "n.overflowing_mul(u64::MAX)": "(u64, bool)",
    "Some(1).zip(Some('a'))": "Option<(i32, char)>",
    "RefCell::new(Some(3i8)).into_inner()": "Option<i8>",
    "s.splitn(2, ' ').map(String::from).collect::<Vec<_>>()": "Vec<String>",
    "'a'.is_alphabetic()": "bool",
    "{ let mut w = v.clone(); w.sort_unstable(); w.dedup(); w }": "Vec<i32>",
    "m.iter().filter(|(_, v)| **v > 1).count()": "usize",
    "{ let mut w = v.clone(); w.sort_by(|a, b| b.cmp(a)); w }": "Vec<i32>",
    "v.iter().position(|x| *x == 2)": "Option<usize>",
    "v.iter().scan(0, |s, x| { *s += x; Some(*s) }).last()": "Option<i32>",
    'v.iter().map(|x| x.to_string()).collect::<Vec<_>>().join(", ")': "String",
    "s.lines().map(|l| l.len()).max()": "Option<usize>",
    "q.iter().collect::<String>()": "String",
    "Instant::now()": "Instant",
    "b.first_key_value().map(|(k, v)| (*k, v.len()))": "Option<(u8, usize)>",
    "Rc::clone(&Rc::new(5u8))": "Rc<u8>",
    'std::path::PathBuf::from("/a").extension().map(|e| e.to_os_string())': "Option<std::ffi::OsString>",
    "std::net::IpAddr::from([127, 0, 0, 1])": "std::net::IpAddr",
    "f.sqrt()": "f64",
    "1.cmp(&2)": "std::cmp::Ordering",
    "std::marker::PhantomData::<u8>": "std::marker::PhantomData<u8>",
    "loop { break 7u16 }": "u16",
    "std::ascii::escape_default(b'a').to_string()": "String",
    "std::process::id()": "u32",
    "std::num::Wrapping(3u8) + std::num::Wrapping(4)": "std::num::Wrapping<u8>",
    'std::iter::repeat("x").take(3).collect::<String>()': "String",
    '"3".parse::<u8>().map_err(|e| e.to_string())': "Result<u8, String>",
    "b.range(1..3).map(|(k, _)| *k).collect::<Vec<_>>()": "Vec<u8>",
    "Some(Some(3)).flatten()": "Option<i32>",
    "std::num::NonZeroU8::new(3)": "Option<std::num::NonZero<u8>>",
    "std::f64::consts::PI * 2.0": "f64",
    "OnceLock::<u8>::new()": "OnceLock<u8>",
    "n.pow(2)": "u64",
    'std::fs::read_to_string("/nowhere").unwrap_or_default()': "String",
    "v.iter().filter(|x| **x > 1).count()": "usize",
    "f.clamp(0.0, 1.0).to_bits()": "u64",
    "AtomicUsize::new(3).fetch_add(1, Ordering::SeqCst)": "usize",
    "s.as_bytes().to_vec()": "Vec<u8>",
    "n.to_le_bytes()": "[u8; 8]",
    "Instant::now().elapsed().as_secs_f64()": "f64",
    "Arc::clone(&a)": "Arc<Mutex<Vec<u8>>>",
    "s.parse::<i32>().is_ok()": "bool",
    'u32::from_str_radix("ff", 16)': "Result<u32, std::num::ParseIntError>",
    'std::net::TcpListener::bind("127.0.0.1:0").unwrap()': "std::net::TcpListener",
    "n.is_power_of_two()": "bool",
    "(0..3).map(|i| (0..3).map(|j| i * j).collect::<Vec<i32>>()).collect::<Vec<_>>()": "Vec<Vec<i32>>",
    "v.windows(2).map(|w| w[0] + w[1]).collect::<VecDeque<_>>()": "VecDeque<i32>",
    "std::time::SystemTime::now()": "std::time::SystemTime",
    "m.clone().into_iter().collect::<BTreeMap<_, _>>()": "BTreeMap<String, u32>",
    "if v.is_empty() { 1u8 } else { 2 }": "u8",
    "(1..=10).map(|x| x * x).filter(|x| x % 2 == 0).sum::<u64>()": "u64",
    "std::panic::catch_unwind(|| 3u8).unwrap_or(0)": "u8",
    'std::env::var("HOME").unwrap_or_default()': "String",
    "n.saturating_add(1).leading_zeros()": "u32",
    "0..5": "std::ops::Range<i32>",
    "vec![Some(1), None].into_iter().flatten().collect::<Vec<i32>>()": "Vec<i32>",
    "[[1.0f32; 3]; 2]": "[[f32; 3]; 2]",
    "AtomicBool::new(true)": "AtomicBool",
    "a.lock().unwrap().len()": "usize",
    'std::cmp::max("a", "b")': "&str",
    "mpsc::channel::<u8>()": "(mpsc::Sender<u8>, mpsc::Receiver<u8>)",
    "v.binary_search(&2)": "Result<usize, usize>",
    "1.5f64.partial_cmp(&2.0)": "Option<std::cmp::Ordering>",
    "v.iter().collect::<Vec<_>>().len()": "usize",
    "{ let mut p = BinaryHeap::new(); p.push((1u8, 'x')); p.pop() }": "Option<(u8, char)>",
    "s.chars().filter(|c| c.is_numeric()).map(|c| c.to_digit(10).unwrap()).collect::<Vec<_>>()": "Vec<u32>",
    'std::borrow::Cow::Borrowed("x")': "std::borrow::Cow<'_, str>",
    "std::thread::spawn(|| 5u8).join().unwrap()": "u8",
    "[3, 1, 2].iter().copied().min().unwrap()": "i32",
    "(0..5).collect::<Vec<usize>>()": "Vec<usize>",
    "std::iter::from_fn(|| None::<u8>).next()": "Option<u8>",
    "std::mem::replace(&mut 5u8, 6)": "u8",
    "f.powi(3).max(1.0)": "f64",
    "v.is_sorted()": "bool",
    "h.union(&h).copied().collect::<HashSet<_>>()": "HashSet<i64>",
    "Some(3).map(|x| x + 1).and_then(|x| if x > 3 { Some(x as u8) } else { None })": "Option<u8>",
    "n.wrapping_sub(8)": "u64",
    "Rc::new(RefCell::new(vec![1.5f32]))": "Rc<RefCell<Vec<f32>>>",
    "u8::try_from(n).unwrap_or(u8::MAX)": "u8",
    "matches!(Some(3), Some(1..=5))": "bool",
    "std::iter::successors(Some(1u32), |x| x.checked_mul(10)).collect::<Vec<_>>()": "Vec<u32>",
    "s.trim().to_string()": "String",
    "f.total_cmp(&1.0)": "std::cmp::Ordering",
    "Ok::<u8, String>(3).ok()": "Option<u8>",
    "Some(5).filter(|x| x % 2 == 1).is_some()": "bool",
    "v.iter().sum::<i32>()": "i32",
    "std::array::from_fn::<usize, 4, _>(|i| i * 2)": "[usize; 4]",
    "v.split_first().map(|(a, r)| (*a, r.to_vec()))": "Option<(i32, Vec<i32>)>",
    "v.iter().min_by_key(|x| x.abs()).cloned()": "Option<i32>",
    "s.bytes().map(|b| b as u32).sum::<u32>()": "u32",
    's.split(", ").map(str::to_owned).collect::<Vec<_>>()': "Vec<String>",
    'std::io::BufReader::new("a\\nb".as_bytes()).lines().map(|l| l.unwrap()).collect::<Vec<_>>()': "Vec<String>",
    'match v.len() { 0 => "none".to_string(), k => k.to_string() }': "String",
    "('a'..='e').collect::<String>()": "String",
    "Ok::<u8, String>(3).map(|x| x * 2)": "Result<u8, String>",
    "std::any::type_name::<u8>()": "&str",
    "m.values().sum::<u32>()": "u32",
    "s.chars().rev().collect::<String>()": "String",
    's.replace("one", "1")': "String",
    '"a=b".split_once(\'=\').map(|(a, b)| (a.to_string(), b.to_string()))': "Option<(String, String)>",
    "std::io::Cursor::new(vec![1u8]).bytes().count()": "usize",
    "BinaryHeap::from(vec![1, 2, 3]).into_sorted_vec()": "Vec<i32>",
    "RwLock::new(String::new())": "RwLock<String>",
    "s.char_indices().map(|(i, c)| (c, i)).collect::<HashMap<_, _>>()": "HashMap<char, usize>",
    "v.iter().rev().take(2).fold(0i64, |a, x| a + *x as i64)": "i64",
    "[0u8; 16]": "[u8; 16]",
    'std::fs::File::open("/nowhere").is_err()': "bool",
    "h.is_subset(&h)": "bool",
    "v.iter().zip(v.iter().skip(1)).map(|(a, b)| b - a).collect::<Vec<i32>>()": "Vec<i32>",
    'm.contains_key("x")': "bool",
    '{ let mut c = HashMap::new(); c.insert(1u8, "a".to_string()); c }': "HashMap<u8, String>",
    "std::env::current_dir().unwrap()": "std::path::PathBuf",
    'std::path::Path::new("/a/b").join("c")': "std::path::PathBuf",
    'format!("{}-{}", 1, 2)': "String",
    'std::fs::metadata("/").map(|m| m.len()).unwrap_or(0)': "u64",
    '{ let mut c: HashMap<char, usize> = HashMap::new(); for x in "hello".chars() { *c.entry(x).or_insert(0) += 1; } c }': "HashMap<char, usize>",
    "std::cmp::Reverse(3u8)": "std::cmp::Reverse<u8>",
    "1..=3u8": "std::ops::RangeInclusive<u8>",
    "v.iter().enumerate().map(|(i, x)| (i, *x)).collect::<Vec<_>>()": "Vec<(usize, i32)>",
    'std::str::from_utf8(b"a").unwrap().len()': "usize",
    "f.sin_cos()": "(f64, f64)",
    "h.iter().max().copied()": "Option<i64>",
    "v.iter().any(|x| *x > 2)": "bool",
    "v.iter().flat_map(|x| vec![*x; 2]).collect::<BTreeSet<_>>()": "BTreeSet<i32>",
    "Box::new(5u8)": "Box<u8>",
    'std::fs::read_dir("/").unwrap().filter_map(|e| e.ok()).map(|e| e.path()).collect::<Vec<_>>()': "Vec<std::path::PathBuf>",
    "Cell::new(4u16).get()": "u16",
    "[1, 2, 3].map(|x| x as f64)": "[f64; 3]",
    "v.iter().try_fold(0i32, |a, x| a.checked_add(*x))": "Option<i32>",
    "Duration::from_millis(5) * 3": "Duration",
    "[1, 2, 3].contains(&2)": "bool",
    "s.split_whitespace().count()": "usize",
    'std::fs::read_to_string("/nowhere").map_err(|e| e.kind())': "Result<String, std::io::ErrorKind>",
    'm.get("x").copied()': "Option<u32>",
    "s.len()": "usize",
    "m.iter().map(|(k, v)| (v, k)).max().map(|(v, k)| (*v, k.clone()))": "Option<(u32, String)>",
    "Arc::strong_count(&a)": "usize",
    "std::thread::spawn(|| 5u8)": "std::thread::JoinHandle<u8>",
    "std::env::args().collect::<Vec<_>>()": "Vec<String>",
    "n.checked_sub(8)": "Option<u64>",
    "i32::MAX.abs_diff(3)": "u32",
    '"5".parse::<i32>().unwrap()': "i32",
    "v.iter().map(|x| x * 2).collect::<Vec<_>>()": "Vec<i32>",
    'v.iter().map(|x| if *x > 0 { Ok(*x) } else { Err("bad".to_string()) }).collect::<Result<Vec<_>, String>>()': "Result<Vec<i32>, String>",
    "std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()": "u64",
    "n as f32 / 2.0": "f32",
    "std::iter::once(1).chain([2, 3]).collect::<Vec<i16>>()": "Vec<i16>",
    'Some(3u8).ok_or("none")': "Result<u8, &str>",
    "v.iter().max().copied()": "Option<i32>",
    "v.iter().copied().partition::<Vec<_>, _>(|x| x % 2 == 0)": "(Vec<i32>, Vec<i32>)",
    '"127.0.0.1:80".parse::<std::net::SocketAddr>().unwrap()': "std::net::SocketAddr",
    "v.iter().step_by(2).cloned().collect::<LinkedList<_>>()": "LinkedList<i32>",
    'None::<String>.unwrap_or_else(|| "x".into())': "String",
    '{ let mut c = m.clone(); c.remove("x") }': "Option<u32>",
    "s.to_uppercase()": "String",
    "v.first().copied().unwrap_or_default()": "i32",
    '"x".repeat(3)': "String",
    "(1..4).product::<u128>()": "u128",
    "std::alloc::Layout::new::<u32>().size()": "usize",
    "std::thread::available_parallelism().map(|k| k.get()).unwrap_or(1)": "usize",
    's.find("two")': "Option<usize>",
    "v.iter().map(|x| *x as f64).sum::<f64>() / v.len() as f64": "f64",
    '(1, "a", 2.5, \'c\', true)': "(i32, &str, f64, char, bool)",
}

BEFORE = """
use std::collections::*;
use std::rc::Rc;
use std::cell::{Cell, RefCell};
use std::sync::{Arc, Mutex, RwLock, mpsc, OnceLock, atomic::*};
use std::time::{Duration, Instant};
use std::io::{Read, Write, BufRead};
let v: Vec<i32> = vec![3, 1, 2];
let s: String = String::from("one two, three");
let m: HashMap<String, u32> = HashMap::new();
let b: BTreeMap<u8, Vec<String>> = BTreeMap::new();
let h: HashSet<i64> = HashSet::new();
let q: VecDeque<char> = VecDeque::new();
let a: Arc<Mutex<Vec<u8>>> = Arc::new(Mutex::new(Vec::new()));
let f: f64 = 2.5;
let n: u64 = 7;
"""

CELL = 24


def types_of_variables(session):
    """What `:vars` shows: the type of each variable."""
    result = session.ok(":vars")
    (bundle,) = [*result.results, *result.displays]
    return dict(re.findall(r"^(\w+): (.*)$", bundle["text/plain"], re.MULTILINE))


def resident(session):
    """Bytes of RAM that the kernel's own process holds."""
    return processes.resident(session.manager.provisioner.pid)


def read_outline(session):
    """Has rust-analyzer read what it gets when the session rests."""
    session.ok("1")
    session.request(session.client.complete("let first = vec![1]; first.", 27))


def test_the_outline_tells_the_types_that_all_of_std_tells():
    expressions = list(TYPES)
    with Session() as session:
        read_outline(session)
        session.ok(BEFORE)
        for start in range(0, len(expressions), CELL):
            part = enumerate(expressions[start : start + CELL], start)
            session.ok("\n".join(f"let x{number} = {code};" for number, code in part))
        found = types_of_variables(session)
        # With all of std it needs 400 MB.
        assert resident(session) < 300e6
    wrong = {
        code: found.get(f"x{number}")
        for number, code in enumerate(expressions)
        if found.get(f"x{number}") != TYPES[code]
    }
    assert wrong == {}


def test_what_is_not_in_the_outline_is_read_from_all_of_std():
    code = "let x = std::arch::x86_64::__cpuid(0).eax;"
    with Session() as session:
        read_outline(session)
        session.ok("struct Own(u8);\nlet own = Own(3);")
        before = resident(session)
        result = session.execute(code)
        after = resident(session)
        assert after - before > 100e6
        assert result.status == "ok", result.describe()
        assert types_of_variables(session)["x"] == "u32"
        # What is documented is, only there.
        reply = session.request(session.client.inspect("Vec::<u8>::push", 15))
        assert "Appends an element" in html.unescape(str(reply["data"]))


def test_the_first_cells_need_no_rust_analyzer():
    with Session(ready=False) as session:
        session.ok("use std::collections::HashMap;\nstruct Point { x: f64 }")
        session.ok("let p = Point { x: 2.5 }; let v = vec![1u8; 10];\nlet n = 7;")
        session.ok('let mut m = HashMap::from([(1, "a")]); let t = (p.x, Some(\'c\'));')
        session.ok('m.insert(2, "b"); assert_eq!(m.len() + v.len() + n as usize, 19);')
        assert resident(session) < 80e6
        types = types_of_variables(session)
    assert types["v"] == "Vec<u8>"
    assert types["n"] == "i32"
    assert types["m"] == "std::collections::HashMap<i32, &'static str>"
    assert types["t"] == "(f64, Option<char>)"
    assert types["p"] == "Point"


@pytest.mark.parametrize(
    "code, expected",
    [
        # A closure cannot be kept: evcxr says how it could be.
        ("let f = |x: u8| x + 1;", "Box<dyn Fn()>"),
        ("let x = undefined;", "cannot find value `undefined`"),
        ("let s = String::new(); let r = &s;", "reference with a non-static lifetime"),
        ("let x = None;", "type annotations needed"),
    ],
)
def test_errors_are_those_that_rust_analyzer_leads_to(code, expected):
    with Session() as session:
        first = session.execute(code).error
        read_outline(session)
        later = session.execute(code).error
    assert expected in str(first), first
    assert first.replace("In [1]", "In [3]") == later
