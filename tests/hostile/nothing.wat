;; It is an empty file.
;; verdict: refused the file is empty
;; form: empty

