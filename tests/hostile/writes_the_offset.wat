;; It would write what belongs to the topic: the record's offset.
;; verdict: refused belongs to the topic
(data (i32.const 200) "@offset")

(data (i32.const 48) "\c8\00\00\00\07\00\00\00\03\00\00\00")
