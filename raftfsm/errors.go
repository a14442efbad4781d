package raftfsm

import (
	"errors"
	"fmt"
)

// ErrUnknownCommand means that a committed command has an id or version that this program does not
// know. A node that skipped it would diverge from the others, so it has to stop.
var ErrUnknownCommand = errors.New("unknown command")

// ErrCorruptCommand means that a committed command can't be decoded.
var ErrCorruptCommand = errors.New("corrupt command")

// ErrCommandTooLarge means that an encoded command exceeds CommandBytesMax.
var ErrCommandTooLarge = errors.New("command too large")

// fieldRevision is the field of a refusal because a record is not as its caller saw it.
const fieldRevision = "expected_revision"

// Changed reports whether the refusal says that a record is not at the revision that the caller expects.
func (e *Error) Changed() bool { return e.Code == CodeConflict && e.Field == fieldRevision }

// Code says why a command was refused.
type Code uint8

// The codes. Their numbers are on the wire and append-only.
const (
	CodeExists       Code = 1 // a namespace of that name exists
	CodeTokenExists  Code = 2 // the token is taken
	CodeNotFound     Code = 3
	CodeForbidden    Code = 4 // never allowed, such as deleting the default namespace
	CodeInvalid      Code = 5 // a field breaks its bound
	CodeConflict     Code = 6 // a compare-and-set failed: read again
	CodePrecondition Code = 7 // not in the present state; the message says what to do first
	// CodeRequestReused: the request id has had its effect for another request.
	CodeRequestReused Code = 8
)

// String returns the code's word, as in error messages and the admin API.
func (c Code) String() string {
	switch c {
	case CodeExists:
		return "exists"
	case CodeTokenExists:
		return "token_exists"
	case CodeNotFound:
		return "not_found"
	case CodeForbidden:
		return "forbidden"
	case CodeInvalid:
		return "invalid"
	case CodeConflict:
		return "conflict"
	case CodePrecondition:
		return "precondition"
	case CodeRequestReused:
		return "request_reused"
	}
	return fmt.Sprintf("code(%d)", uint8(c))
}

// Error is a refusal: the command was applied and changed nothing.
type Error struct {
	Code    Code
	Field   string // the field that is wrong, or empty
	Message string // one lower-case line
	Reason  string // of a refused join token, by Check alone: one of the words that the audit has for it
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// Is reports whether target is an *Error of the same code, so that errors.Is(err, &Error{Code: c}) works.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

func (e *Error) fields(f *fields) {
	c := uint64(e.Code)
	f.u64(&c)
	e.Code = Code(c)
	f.str(&e.Field)
	f.str(&e.Message)
}

func refuse(code Code, field, format string, args ...any) *Error {
	return &Error{Code: code, Field: field, Message: fmt.Sprintf(format, args...)}
}
