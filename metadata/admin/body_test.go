package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
)

// FuzzKeys looks for bodies on which the walk doesn't end, or fails on what is JSON.
func FuzzKeys(f *testing.F) {
	for _, body := range []string{`{"a":[{"b":1},null,"x"],"c":{}}`, `{"a":1,"a":2}`, `{"A":1}`, `[x`, `{"a":[}`, `{1:2}`, `[[[[`, ``, `1 2`} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		d := json.NewDecoder(bytes.NewReader(body))
		d.UseNumber()
		err := checkKeys(d, "body", depthMax)
		if _, refused := errors.AsType[*problem](err); err != nil && !refused && !errors.Is(err, errTooDeep) && json.Valid(body) {
			t.Fatalf("JSON: %v", err)
		}
	})
}
