;; Its logging makes it of more core instances than it may consist of.
;; verdict: refused instance count too high
;; world: import wasi:logging/logging@0.1.0-draft;
;; limits: instances=1
(import "wasi:logging/logging@0.1.0-draft" "log" (func $log (param i32 i32 i32 i32 i32)))
