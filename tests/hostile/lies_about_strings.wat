;; Its contract names a field that lies outside of its memory.
;; verdict: refused does not start
(data (i32.const 48) "\f0\ff\ff\7f\ff\00\00\00\00\00\00\00")
