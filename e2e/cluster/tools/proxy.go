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

// fault is what the proxy does to the requests that it fits.
type fault struct {
	// Methods such as PUT; none fits all.
	Methods []string `json:"methods"`
	// Contains is a part of the path.
	Contains string `json:"contains"`
	// Watch fits watches alone, Calls everything else alone.
	Watch bool `json:"watch"`
	Calls bool `json:"calls"`
	// Share of the fitting requests that it is done to, from 0 to 1.
	Share float64 `json:"share"`
	// DelayMilliseconds is waited before the request is passed on or refused.
	DelayMilliseconds int `json:"delayMilliseconds"`
	// Status is what the request is refused with; 0 passes it on.
	Status int `json:"status"`
	// RetryAfterSeconds is what the refused one is told to wait.
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

// faults reads the file anew for each request, so that a test can change what is wrong at any time.
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

// proxy passes requests on to the API server, but for the faults that the file lists. Whoever asks is known by the token
// in the request, which passes through.
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
	// Each event of a watch at once.
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

// refuse answers as the API server does.
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
