package admin

import (
	"iter"
	"net/http"
	"strconv"
	"strings"

	"github.com/atolldb/atoll/rpc/adminapi"
)

// reply is the shape of every answer.
type reply[T any] struct {
	Body T
}

// tagged is the shape of an answer about one record that a change may name by its ETag.
type tagged[T any] struct {
	ETag string `header:"ETag"`
	Body T
}

// PageParams are the parameters of every list.
type PageParams struct {
	After string `query:"after" doc:"next of the page before; absent: from the beginning"`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"records in a page"`
}

// fill puts the records of a page into a list, and returns what names the last one if there are more.
func fill[R, T any](rows iter.Seq[R], limit int, describe func(R) (T, bool), name func(T) string) (page []T, next string) {
	page = []T{}
	for row := range rows {
		record, ok := describe(row)
		if !ok {
			continue
		}
		if len(page) == limit {
			return page, name(page[limit-1])
		}
		page = append(page, record)
	}
	return page, ""
}

// number reads after where records are named by numbers.
func (p PageParams) number() (uint64, error) {
	if p.After == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(p.After, 10, 64)
	if err != nil {
		return 0, invalidAt("query.after", "after takes the next of the page before, a number")
	}
	return n, nil
}

// ChangeParams are the parameters of every request that changes something. It is exported, as are the other
// structs that inputs embed, because Huma passes over unexported ones.
type ChangeParams struct {
	Wait           string `query:"wait" enum:"applied" doc:"applied: answer when every live data node has applied the change"`
	WaitMs         int    `query:"wait_ms" minimum:"1" maximum:"60000" default:"5000" doc:"milliseconds that wait lasts at most"`
	IdempotencyKey string `header:"Idempotency-Key" minLength:"16" maxLength:"128" doc:"a retry of the same request with the same key has one effect, and shows the same made secret; another request with it is refused. Whoever has the caller's token and the key can have the secret again: keep the key as secret as the token" example:"4b1f0a52-6d0e-4f4e-9d0e-6a8f6b1f0a52"`
}

// MatchParams make a change depend on what the caller has seen.
type MatchParams struct {
	IfMatch string `header:"If-Match" doc:"the ETag of an earlier answer: the change is refused with 412 when its subject has changed since; *: any" example:"\"42\""`
}

// revision returns the revision that the subject must have, or 0 for any.
func (p MatchParams) revision() (uint64, error) {
	if p.IfMatch == "" || p.IfMatch == "*" {
		return 0, nil
	}
	digits, ok := strings.CutPrefix(p.IfMatch, `"`)
	digits, closed := strings.CutSuffix(digits, `"`)
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || !ok || !closed || n == 0 {
		err := invalidAt("header."+adminapi.IfMatch, `%s takes one ETag of an earlier answer, such as "42" with its quotes, or *`, adminapi.IfMatch)
		err.Status, err.Type = http.StatusBadRequest, adminapi.ProblemPrefix+adminapi.CodeMalformed
		err.Title = http.StatusText(err.Status)
		return 0, err
	}
	return n, nil
}
