package adminapi

import (
	"fmt"
	"strings"
)

// ProblemPrefix begins the type of every problem that is Atoll's own; the rest is its code.
const ProblemPrefix = "urn:atoll:problem:"

// The codes of problems. A refusal of the state machine has its own code: exists, token_exists,
// not_found, forbidden, invalid, conflict, precondition, request_reused.
const (
	CodeMalformed    = "malformed" // the request can't be read
	CodeInvalid      = "invalid"
	CodeNotFound     = "not_found"
	CodeExists       = "exists"
	CodeTokenExists  = "token_exists"
	CodeForbidden    = "forbidden"
	CodeConflict     = "conflict"
	CodePrecondition = "precondition"
	// CodeMismatch: the subject is not at the revision that If-Match names. Nothing happened: read it again.
	CodeMismatch = "mismatch"
	// CodeRequestReused: the Idempotency-Key had its effect for another request. Nothing happened.
	CodeRequestReused = "request_reused"
	CodeUnauthorized  = "unauthorized"
	CodeWrongHost     = "wrong_host"
	CodeNoLeader      = "no_leader"   // nothing happened
	CodeTooMuch       = "too_much"    // nothing happened: try again later
	CodeMediaType     = "media_type"  // the body is not said to be JSON
	CodeMethod        = "method"      // the path doesn't take this method
	CodeTooLarge      = "too_large"   // nothing happened
	CodeUnavailable   = "unavailable" // nothing happened
	// CodeIndeterminate is the one that leaves open whether the change happened. A retry with the same
	// Idempotency-Key is safe.
	CodeIndeterminate = "indeterminate"
)

// Problem is a refusal in the form of RFC 9457. It is an error.
type Problem struct {
	Type   string         `json:"type,omitempty"`
	Title  string         `json:"title,omitempty"`
	Status int            `json:"status,omitempty"`
	Detail string         `json:"detail,omitempty"`
	Errors []ProblemField `json:"errors,omitempty"`
}

// ProblemField says what is wrong with one field of the request.
type ProblemField struct {
	Message  string `json:"message,omitempty"`
	Location string `json:"location,omitempty"` // such as body.name
}

// Code returns the problem's code, or an empty string where the answer is not Atoll's.
func (p *Problem) Code() string {
	code, ok := strings.CutPrefix(p.Type, ProblemPrefix)
	if !ok {
		return ""
	}
	return code
}

// Error returns the detail, or the title where there is none.
func (p *Problem) Error() string {
	switch {
	case p.Detail != "":
		return p.Detail
	case p.Title != "":
		return fmt.Sprintf("%s (HTTP status %d)", strings.ToLower(p.Title), p.Status)
	}
	return fmt.Sprintf("HTTP status %d", p.Status)
}

// Is reports whether target is a *Problem of the same type, so that callers may compare with errors.Is.
func (p *Problem) Is(target error) bool {
	t, ok := target.(*Problem)
	return ok && t.Type == p.Type
}
