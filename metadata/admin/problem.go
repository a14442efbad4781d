package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/atolldb/atoll/metadata/consensus"
	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc/adminapi"
)

// statusOf is the table from a problem's code to its HTTP status.
func statusOf(code string) int {
	switch code {
	case adminapi.CodeMalformed:
		return http.StatusBadRequest
	case adminapi.CodeInvalid, adminapi.CodeRequestReused:
		return http.StatusUnprocessableEntity
	case adminapi.CodeNotFound:
		return http.StatusNotFound
	case adminapi.CodeExists, adminapi.CodeTokenExists, adminapi.CodeConflict, adminapi.CodePrecondition:
		return http.StatusConflict
	case adminapi.CodeMismatch:
		return http.StatusPreconditionFailed
	case adminapi.CodeForbidden:
		return http.StatusForbidden
	case adminapi.CodeUnauthorized:
		return http.StatusUnauthorized
	case adminapi.CodeWrongHost:
		return http.StatusMisdirectedRequest
	case adminapi.CodeMethod:
		return http.StatusMethodNotAllowed
	case adminapi.CodeMediaType:
		return http.StatusUnsupportedMediaType
	case adminapi.CodeTooLarge:
		return http.StatusRequestEntityTooLarge
	case adminapi.CodeTooMuch:
		return http.StatusTooManyRequests
	case adminapi.CodeNoLeader, adminapi.CodeUnavailable:
		return http.StatusServiceUnavailable
	case adminapi.CodeIndeterminate:
		return http.StatusGatewayTimeout
	}
	return http.StatusInternalServerError
}

// problem is an adminapi.Problem that Huma can answer with.
type problem struct {
	adminapi.Problem
}

func newProblem(code, format string, args ...any) *problem {
	status := statusOf(code)
	return &problem{adminapi.Problem{
		Type: adminapi.ProblemPrefix + code, Status: status, Title: http.StatusText(status),
		Detail: fmt.Sprintf(format, args...),
	}}
}

func (p *problem) Error() string             { return p.Problem.Error() }
func (p *problem) GetStatus() int            { return p.Status }
func (p *problem) ContentType(string) string { return "application/problem+json" }

// GetHeaders returns what must accompany the problem's status.
func (p *problem) GetHeaders() http.Header {
	switch p.Status {
	case http.StatusUnauthorized:
		return http.Header{"Www-Authenticate": {`Bearer realm="atoll"`}}
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return http.Header{"Retry-After": {"1"}}
	}
	return nil
}

// problem maps an error of a read to its answer.
func (a *api) problem(err error) *problem {
	var own *problem
	var refusal *raftfsm.Error
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &refusal):
		return refused(refusal)
	case errors.Is(err, consensus.ErrIndeterminate):
		return newProblem(adminapi.CodeIndeterminate,
			"the change may or may not have happened: look, or retry with the same %s", adminapi.IdempotencyKey)
	case errors.Is(err, consensus.ErrNoLeader):
		return newProblem(adminapi.CodeNoLeader, "the metadata service has no leader at the moment: nothing has happened")
	case errors.Is(err, consensus.ErrTooMuch):
		return newProblem(adminapi.CodeTooMuch, "too much at once: nothing has happened")
	case errors.Is(err, raftfsm.ErrCommandTooLarge):
		return newProblem(adminapi.CodeTooLarge, "the change is larger than %d bytes", raftfsm.CommandBytesMax)
	case errors.Is(err, consensus.ErrStopped):
		return newProblem(adminapi.CodeUnavailable, "this metadata node has stopped: ask another")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return newProblem(adminapi.CodeUnavailable, "the metadata service did not answer in time: nothing has happened")
	}
	a.Log.Error("admin request", "error", err)
	return newProblem("internal", "internal error: see this node's log")
}

// changeProblem maps an error of a change. One that nobody foresaw says nothing about the outcome.
func (a *api) changeProblem(err error) *problem {
	p := a.problem(err)
	if p.Status != http.StatusInternalServerError {
		return p
	}
	return newProblem(adminapi.CodeIndeterminate, "internal error: the change may or may not have happened; see this node's log")
}

func refused(e *raftfsm.Error) *problem {
	if e.Changed() {
		p := newProblem(adminapi.CodeMismatch, "%s: %s", adminapi.IfMatch, e.Message)
		p.Errors = []adminapi.ProblemField{{Message: e.Message, Location: "header." + adminapi.IfMatch}}
		return p
	}
	p := newProblem(e.Code.String(), "%s", e.Message)
	if e.Field != "" {
		p.Errors = []adminapi.ProblemField{{Message: e.Message, Location: locationOf(e)}}
	}
	if e.Code == raftfsm.CodeRequestReused {
		p.Detail = "this " + adminapi.IdempotencyKey + " was used for another request: nothing has happened"
	}
	return p
}

// locationOf says where in the request a refused field is.
func locationOf(e *raftfsm.Error) string {
	switch {
	case e.Field == "request_id":
		return "header." + adminapi.IdempotencyKey
	case e.Code == raftfsm.CodeInvalid, e.Code == raftfsm.CodeExists, e.Code == raftfsm.CodeTokenExists:
		return "body." + e.Field
	}
	return e.Field
}

// invalidAt refuses a parameter: location is such as query.label.
func invalidAt(location, format string, args ...any) *problem {
	p := newProblem(adminapi.CodeInvalid, format, args...)
	p.Detail = location + ": " + p.Detail
	p.Errors = []adminapi.ProblemField{{Message: p.Detail, Location: location}}
	return p
}

func invalid(field, format string, args ...any) *raftfsm.Error {
	return &raftfsm.Error{Code: raftfsm.CodeInvalid, Field: field, Message: fmt.Sprintf(format, args...)}
}

// problemTransformer gives Huma's own refusals (a body that isn't JSON, a parameter beyond its bound) the
// shape of the others: a type, and a detail that names the field. What was sent isn't sent back: it may
// be a secret.
func problemTransformer(_ huma.Context, _ string, v any) (any, error) {
	m, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	p := adminapi.Problem{Type: m.Type, Title: m.Title, Status: m.Status, Detail: m.Detail}
	switch {
	case m.Status == http.StatusBadRequest:
		p.Type = adminapi.ProblemPrefix + adminapi.CodeMalformed
	case m.Status == http.StatusUnsupportedMediaType:
		p.Type = adminapi.ProblemPrefix + adminapi.CodeMediaType
	case m.Status < http.StatusInternalServerError:
		p.Type = adminapi.ProblemPrefix + adminapi.CodeInvalid
	}
	var parts []string
	for _, e := range m.Errors {
		p.Errors = append(p.Errors, adminapi.ProblemField{Message: e.Message, Location: e.Location})
		parts = append(parts, strings.TrimPrefix(e.Location+": "+e.Message, ": "))
	}
	if len(parts) > 0 {
		p.Detail += ": " + strings.Join(parts, "; ")
	}
	return &p, nil
}
