package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// fault is a fault of the proxy, with a description of the requests that it affects.
type fault struct {
	// Methods such as PUT; an empty list matches all.
	Methods []string `json:"methods"`
	// Contains is a text that the path must contain.
	Contains string `json:"contains"`
	// Watch matches only watches, and Calls only other requests.
	Watch bool `json:"watch"`
	Calls bool `json:"calls"`
	// Share of the matching requests that are affected, from 0 to 1.
	Share float64 `json:"share"`
	// DelayMilliseconds is the time before the request is passed on or refused.
	DelayMilliseconds int `json:"delayMilliseconds"`
	// Status is the HTTP status of the refusal; 0 passes the request on.
	Status int `json:"status"`
	// RetryAfterSeconds is the time that the refusal asks the client to wait; 0 names none.
	RetryAfterSeconds int `json:"retryAfterSeconds"`
}

func (f fault) fits(request *http.Request) bool {
	watch := request.URL.Query().Get("watch") != ""
	if f.Watch && !watch || f.Calls && watch || !strings.Contains(request.URL.Path, f.Contains) {
		return false
	}
	for _, method := range f.Methods {
		if method == request.Method {
			return rand.Float64() < f.Share
		}
	}
	return len(f.Methods) == 0 && rand.Float64() < f.Share
}

// faults reads the file anew for each request, so that a test can change the faults at any time.
func faults(file string) ([]fault, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var listed []fault
	return listed, json.Unmarshal(text, &listed)
}

// proxy passes requests on to the API server, except for the faults that the file lists. The API server knows clients
// by the tokens in their requests, which pass through unchanged.
func proxy(listen, target, certificate, key, authority, faultsFile string) error {
	pem, err := os.ReadFile(authority)
	if err != nil {
		return fmt.Errorf("read the cluster's certificate authority: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return fmt.Errorf("%s has no certificate", authority)
	}
	server := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "https", Host: target})
	server.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	// A negative interval passes each event of a watch on at once.
	server.FlushInterval = -1
	handler := func(writer http.ResponseWriter, request *http.Request) {
		listed, err := faults(faultsFile)
		if err != nil {
			http.Error(writer, fmt.Sprintf("the proxy's faults: %v", err), http.StatusInternalServerError)
			return
		}
		for _, fault := range listed {
			if !fault.fits(request) {
				continue
			}
			select {
			case <-time.After(time.Duration(fault.DelayMilliseconds) * time.Millisecond):
			case <-request.Context().Done():
				return
			}
			if fault.Status != 0 {
				refuse(writer, fault)
				return
			}
		}
		server.ServeHTTP(writer, request)
	}
	return http.ListenAndServeTLS(listen, certificate, key, http.HandlerFunc(handler))
}

// refuse answers with a Status object, as the API server does.
func refuse(writer http.ResponseWriter, fault fault) {
	reasons := map[int]string{410: "Expired", 429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable"}
	if fault.RetryAfterSeconds > 0 {
		writer.Header().Set("Retry-After", strconv.Itoa(fault.RetryAfterSeconds))
	}
	writer.Header().Set("Content-Type", "application/json")
	writer.WriteHeader(fault.Status)
	// A client that has gone needs no answer.
	_ = json.NewEncoder(writer).Encode(map[string]any{
		"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": fault.Status,
		"reason": reasons[fault.Status], "message": "a fault of the test",
		"details": map[string]any{"retryAfterSeconds": fault.RetryAfterSeconds},
	})
}
