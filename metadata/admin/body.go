package admin

import (
	"bytes"
	"errors"
	"io"
	"net/http"

	"github.com/atolldb/atoll/rpc/adminapi"
)

// takeBody reads a request's body, within its bound, and puts it back for the operation.
func takeBody(w http.ResponseWriter, r *http.Request) ([]byte, *problem) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, adminapi.BodyBytesMax))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, newProblem(adminapi.CodeTooLarge, "the body is larger than %d bytes", adminapi.BodyBytesMax)
	}
	if err != nil {
		return nil, newProblem(adminapi.CodeMalformed, "the body has not come whole")
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return body, nil
}
