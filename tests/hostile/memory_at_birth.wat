;; It wants 4 GiB to begin with.
;; verdict: refused asked for more than 16 MiB of memory
(memory $memory (export "memory") 65536)
