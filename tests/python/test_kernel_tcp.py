"""jupyter_kernel_test over tcp, and what it leaves out of completion and inspection."""

import jupyter_kernel_test

from kernel_samples import Samples, Welcome


class TestKernelTcp(Samples, jupyter_kernel_test.KernelTests):
    def complete(self, code, cursor=None):
        return self.session.request(self.kc.complete(code, cursor))

    def inspect(self, code, cursor=None):
        return self.session.request(self.kc.inspect(code, cursor))

    def test_methods_are_completed_from_their_type(self):
        reply = self.complete("let text = String::new(); text.is_emp")
        assert any(match.startswith("is_empty") for match in reply["matches"]), reply
        assert not any(match.startswith("push") for match in reply["matches"]), reply
        start, end = reply["cursor_start"], reply["cursor_end"]
        assert "let text = String::new(); text.is_emp"[start:end] == "is_emp", reply

    def test_cursors_are_code_points(self):
        # Two code points that are one grapheme, and one code point of two UTF-16 units.
        code = 'let text = "e\u0301🦀".to_string(); text.is_emp'
        reply = self.complete(code)
        assert any(match.startswith("is_empty") for match in reply["matches"]), reply
        assert code[reply["cursor_start"] : reply["cursor_end"]] == "is_emp", reply

    def test_completion_knows_variables_of_earlier_cells(self):
        self.session.ok("let my_earlier_number = 41;")
        reply = self.complete("my_earl")
        assert "my_earlier_number" in reply["matches"], reply

    def test_completion_right_after_a_cell_is_never_empty(self):
        # The cell's end and the next request overlap; while a cell runs the answer may be empty.
        self.session.ok("let just_now = 1;")
        for _ in range(20):
            self.session.ok("%lsmagic")
            assert "just_now" in self.complete("just_n")["matches"]

    def test_completion_below_a_magic_line(self):
        code = "%memtrack\nlet text = String::new(); text.is_emp"
        reply = self.complete(code)
        assert any(match.startswith("is_empty") for match in reply["matches"]), reply
        assert code[reply["cursor_start"] : reply["cursor_end"]] == "is_emp", reply

    def test_completion_of_nonsense_is_empty(self):
        reply = self.complete("no_such_name_anywhere_x")
        assert reply["status"] == "ok" and reply["matches"] == [], reply

    def test_inspection_tells_the_type(self):
        reply = self.inspect("let word = String::from(\"a\"); word", None)
        assert reply["found"], reply
        assert "String" in reply["data"]["text/plain"], reply

    def test_inspection_of_an_option_tells_its_help(self):
        reply = self.inspect("%memtrack --label", len("%memtrack --lab"))
        assert reply["found"] and "label" in reply["data"]["text/plain"], reply

    def test_inspection_of_nothing_finds_nothing(self):
        reply = self.inspect("   ", 1)
        assert reply["status"] == "ok" and not reply["found"], reply

    def test_comm_info_is_empty(self):
        reply = self.session.request(self.kc.comm_info())
        assert reply == {"status": "ok", "comms": {}}


class TestWelcomeTcp(Welcome, jupyter_kernel_test.IopubWelcomeTests):
    pass
