;; It would write the record's key as text, which is bytes.
;; verdict: refused @key
(data (i32.const 200) "@key")

(data (i32.const 48) "\c8\00\00\00\04\00\00\00\00\00\00\00")
