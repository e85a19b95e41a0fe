;; It logs colours, a bell, a forged line and a script.
;; verdict: harmless
;; logged: 1 2  info \u{1b}[31mred\u{7}\n2026-01-01 ERROR forged\u{1b}]0;title\u{7}<script>alert(1)</script>
;; world: import wasi:logging/logging@0.1.0-draft;
(import "wasi:logging/logging@0.1.0-draft" "log" (func $log (param i32 i32 i32 i32 i32)))

(func $evil (param $rows i32) (param $columns i32)
  (call $log (i32.const 2) (i32.const 24) (i32.const 3) (i32.const 1024) (i32.const 70)))

(data (i32.const 1024) "\1b[31mred\07\0a2026-01-01 ERROR forged\1b]0;title\07<script>alert(1)</script>  ")
