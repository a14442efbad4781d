package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/atolldb/atoll/rpc/adminapi"
)

// depthMax is how deep a body may nest; those of the API nest two deep.
const depthMax = 8

var errTooDeep = errors.New("the body nests too deep")

// takeBody reads a request's body, within its bound, and puts it back for the operation. It refuses what
// encoding/json would mend in silence: bytes that are not UTF-8, of which names and secrets would come
// out as others, and keys that it would overwrite or match by another case.
func takeBody(w http.ResponseWriter, r *http.Request) ([]byte, *problem) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, adminapi.BodyBytesMax))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, newProblem(adminapi.CodeTooLarge, "the body is larger than %d bytes", adminapi.BodyBytesMax)
	}
	switch {
	case err != nil:
		return nil, newProblem(adminapi.CodeMalformed, "the body has not come whole")
	case len(body) > 0 && r.Header.Get("Content-Type") == "":
		return nil, newProblem(adminapi.CodeMediaType, "the body has no content type: it takes Content-Type: application/json")
	case !utf8.Valid(body):
		return nil, newProblem(adminapi.CodeMalformed, "the body is not valid UTF-8")
	}
	// What isn't JSON is left to the operation, which says where.
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber() // a number beyond a float64 doesn't end the walk
	err = checkKeys(d, "body", depthMax)
	if p, ok := errors.AsType[*problem](err); ok {
		return nil, p
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return body, nil
}

// checkKeys walks one JSON value and refuses, with a *problem, a key that comes twice or is not lower-case.
// Other errors are about what isn't JSON, or nests deeper than depth, which no operation takes.
func checkKeys(d *json.Decoder, location string, depth int) error {
	t, err := d.Token()
	if err != nil || t != json.Delim('[') && t != json.Delim('{') {
		return err
	}
	if depth == 0 {
		return errTooDeep
	}
	seen := map[string]bool{}
	for d.More() {
		at := location
		if t == json.Delim('{') {
			next, err := d.Token()
			key, ok := next.(string)
			if err != nil || !ok {
				return err
			}
			at += "." + key
			// The caller names labels.
			if p := checkKey(key, at, seen[key], location == "body.labels"); p != nil {
				return p
			}
			seen[key] = true
		}
		if err := checkKeys(d, at, depth-1); err != nil {
			return err
		}
	}
	_, err = d.Token() // the closing bracket
	return err
}

func checkKey(key, location string, seen, free bool) *problem {
	message := ""
	switch {
	case seen:
		message = "the key comes twice"
	case !free && strings.ContainsFunc(key, func(r rune) bool { return (r < 'a' || r > 'z') && r != '_' }):
		message = "there is no such key: keys are lower-case"
	default:
		return nil
	}
	p := newProblem(adminapi.CodeInvalid, "%s: %s", location, message)
	p.Errors = []adminapi.ProblemField{{Message: message, Location: location}}
	return p
}
