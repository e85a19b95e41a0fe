;; It writes a field whose name would colour a terminal and run on a page.
;; verdict: refused dotted path
(data (i32.const 200) "\1b[31m<script>alert(1)</script>")

(data (i32.const 48) "\c8\00\00\00\1e\00\00\00\00\00\00\00")
