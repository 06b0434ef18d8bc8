;;; gdb_mi.el --- Drive Emacs' gdb-mi in batch  -*- lexical-binding: t -*-
;; SPDX-License-Identifier: MIT

;;; Commentary:
;; The environment has GDB_COMMAND, TARGET and ELF.  What a person would see goes to standard output:
;; after each stop its record, the frame, and the buffers of breakpoints, stack and locals; at the end
;; the buffer of the debugger.

;;; Code:

(require 'gdb-mi)
(setq gdb-show-main nil gdb-debuginfod-enable-setting nil)

(defvar stopped nil "The record of the last stop.")
(add-hook 'gdb-stopped-functions (lambda (result) (setq stopped result)))

(defun until (what condition)
  "Let Emacs work until CONDITION holds; end with an error that names WHAT after 20 s."
  (let ((end (+ (float-time) 20)))
    (while (not (funcall condition))
      (when (> (float-time) end)
        (error "Waited 20 s for %s; %s" what
               (with-current-buffer gud-comint-buffer (buffer-string))))
      (accept-process-output nil 0.02))))

(defun settle ()
  "Wait for the answers to what gdb-mi has asked for."
  (until "answers" (lambda () (and (null gdb-handler-list) (not gud-running))))
  (accept-process-output nil 0.05)
  (until "more answers" (lambda () (null gdb-handler-list))))

(defun show ()
  "Print what there is to see."
  (princ (format "  %s %s:%s %s %s\n" gdb-selected-frame gdb-selected-file gdb-selected-line
                 gdb-frame-address (gdb-mi--field stopped 'reason)))
  (dolist (type '(gdb-breakpoints-buffer gdb-stack-buffer gdb-locals-buffer))
    (princ (with-current-buffer (gdb-get-buffer-create type)
             (buffer-substring-no-properties (point-min) (point-max))))
    (terpri)))

(defun resumes (name function)
  "Call FUNCTION, which resumes the guest, and show where it stops."
  (princ (format "%s\n" name))
  (setq stopped nil)
  (with-current-buffer gud-comint-buffer (funcall function))
  (until (format "the stop after %s" name) (lambda () stopped))
  (settle)
  (show))

(defun enter (text)
  "Type TEXT at the prompt."
  (goto-char (point-max))
  (insert text)
  (comint-send-input))

(defun types (text)
  "Type TEXT, which does not resume."
  (princ (format "%s\n" text))
  (with-current-buffer gud-comint-buffer (enter text))
  (accept-process-output nil 0.1)
  (settle))

(gdb (getenv "GDB_COMMAND"))
(settle)
(dolist (type '(gdb-breakpoints-buffer gdb-stack-buffer gdb-locals-buffer))
  (gdb-get-buffer-create type))
(types (concat "file " (getenv "ELF")))
(resumes "connect" (lambda () (enter (concat "target remote " (getenv "TARGET")))))
(types "break work")
(resumes "cont" (lambda () (gud-cont 1)))
(resumes "stepi" (lambda () (gud-stepi 1)))
(resumes "nexti" (lambda () (gud-nexti 1)))
(resumes "stepi 5" (lambda () (gud-stepi 5)))
(resumes "step" (lambda () (gud-step 1)))
(resumes "next" (lambda () (gud-next 1)))
(resumes "finish" (lambda () (gud-finish 1)))
(types "break square if x == 3")
(resumes "cont" (lambda () (gud-cont 1)))
(resumes "finish" (lambda () (gud-finish 1)))
(resumes "next 3" (lambda () (gud-next 3)))
(types "delete")
(types "watch total")
(resumes "cont" (lambda () (gud-cont 1)))
(resumes "cont" (lambda () (gud-cont 1)))
(types "delete")
(types "break square if x == -1")
(types "info registers pc msr")
(princ (with-current-buffer gud-comint-buffer
         (buffer-substring-no-properties (point-min) (point-max))))
(let ((kill-buffer-query-functions nil))
  (delete-process (get-buffer-process gud-comint-buffer)))

;;; gdb_mi.el ends here
