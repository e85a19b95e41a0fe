;; It gives the host an address outside of its memory to write to.
;; verdict: all 
(func $realloc (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0x7ffffff0))
