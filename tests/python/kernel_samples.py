"""What jupyter_kernel_test asks of the kernel, the same for every transport."""

import base64

from kernel_session import Session

PIXEL = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
        "1f15c4890000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
    )
).decode()


def rich(mime, content):
    """Code that shows `content` in the way of evcxr's displays."""
    return f'println!("EVCXR_BEGIN_CONTENT {mime}\\n{{}}\\nEVCXR_END_CONTENT", r#"{content}"#);'


class Samples:
    """To be mixed into `jupyter_kernel_test.KernelTests`."""

    transport = "tcp"

    kernel_name = "rust-memtrack"
    language_name = "rust"
    file_extension = ".rs"

    code_hello_world = 'println!("hello, world")'
    code_stderr = 'eprintln!("to stderr")'
    code_generate_error = "let wrong: u32 = \"text\";"

    complete_code_samples = [
        "1 + 2",
        "fn double(x: i32) -> i32 { x * 2 }",
        'println!("a brace in a string: {{")',
        "// only a comment with ( in it",
        "%memtrack on",
        "%memtrack\nlet x = vec![1u8; 10];",
    ]
    incomplete_code_samples = [
        "fn double(x: i32) -> i32 {",
        "let x = (1,",
        'println!("open string',
        "%memtrack\nfor i in 0..3 {",
    ]
    invalid_code_samples = ["let x = 1 )", "fn f() }"]

    completion_samples = [
        {"text": "%memtrack rep", "matches": {"report"}},
        {"text": "%lsm", "matches": {"%lsmagic"}},
    ]
    code_inspect_sample = "%memtrack"

    code_execute_result = [
        {"code": "1+2", "result": "3"},
        {"code": "vec![1, 2, 3]", "result": "[1, 2, 3]"},
        {"code": "(1..=4).product::<i32>()", "result": "24"},
    ]
    code_display_data = [
        {"code": rich("image/png", PIXEL), "mime": "image/png"},
        {"code": rich("text/html", "<b>bold</b>"), "mime": "text/html"},
        {"code": rich("image/svg+xml", "<svg/>"), "mime": "image/svg+xml"},
        {"code": rich("text/latex", "$x^2$"), "mime": "text/latex"},
        {"code": rich("application/json", '{"a": 1}'), "mime": "application/json"},
        {"code": "%memtrack\nlet held = vec![1u8; 1 << 20];", "mime": "text/html"},
    ]

    # The middle must match one sample of `code_execute_result` and no other.
    code_history_pattern = "1?2*"
    supported_history_operations = ("tail", "range", "search")

    @classmethod
    def setUpClass(cls):
        # The suite waits 15 s for a reply; a first cell may need more.
        cls.session = Session(transport=cls.transport).warm_up()
        cls.km, cls.kc = cls.session.manager, cls.session.client

    @classmethod
    def tearDownClass(cls):
        cls.session.stop()


class Welcome:
    """To be mixed into `jupyter_kernel_test.IopubWelcomeTests`."""

    transport = "tcp"
    support_iopub_welcome = True

    @classmethod
    def setUpClass(cls):
        # Channels start in the test itself: the welcome is the first message.
        cls.session = Session(transport=cls.transport, ready=False)
        cls.session.client.stop_channels()
        cls.km = cls.session.manager
        cls.kc = cls.km.client()

    @classmethod
    def tearDownClass(cls):
        cls.kc.stop_channels()
        cls.session.stop()
