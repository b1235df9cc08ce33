"""What does each proxy need to prove who it is? A throw-away authority, two identities, each one's words for mutual TLS.

P-256 keys and TLS 1.3 for all. A peer's certificate must chain to the authority and bear the expected name.
"""

import http.client
import os
import ssl
import subprocess

from stage import HOST, Invalid, write

DOMAIN = "bench"
CALLER, SERVICE = "caller", "service"


def spiffe(name):
    return f"spiffe://{DOMAIN}/{name}"


def issue(directory):
    """Writes `DIRECTORY/NAME/{tls.crt,tls.key,ca.crt,both.pem}` for both identities; returns the directory."""
    root = os.path.join(directory, "ca")
    openssl("req", "-x509", *new_key(root + ".key"), "-out", root + ".crt", "-days", "2", "-subj", "/CN=bench CA")
    for name in (CALLER, SERVICE):
        place = os.path.join(directory, name)
        os.mkdir(place)
        crt, key = f"{place}/tls.crt", f"{place}/tls.key"
        extensions = write(f"{place}/ext", f"subjectAltName=URI:{spiffe(name)},DNS:{name}.{DOMAIN}\n"
                           "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n"
                           "extendedKeyUsage=serverAuth,clientAuth\n")
        openssl("req", *new_key(key), "-out", f"{place}/csr", "-subj", f"/CN={name}")
        openssl("x509", "-req", "-in", f"{place}/csr", "-CA", root + ".crt", "-CAkey", root + ".key", "-days", "1",
                "-CAcreateserial", "-extfile", extensions, "-out", crt)
        write(f"{place}/ca.crt", read(root + ".crt"))
        write(f"{place}/both.pem", read(crt) + read(key))
    return directory


def new_key(path):
    return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", path]


def openssl(*arguments):
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        raise Invalid(f"openssl {arguments[0]}: {done.stderr.strip()[-300:]}")


def read(path):
    with open(path, encoding="utf8") as file:
        return file.read()


def get(port, certificates):
    """The status of one exchange over mutual TLS."""
    context = ssl.create_default_context(cafile=f"{certificates}/ca.crt")
    context.load_cert_chain(f"{certificates}/tls.crt", f"{certificates}/tls.key")
    context.check_hostname = False
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=context)
    try:
        connection.request("GET", "/", headers={"Host": HOST})
        return connection.getresponse().status
    finally:
        connection.close()


def outrigger(hop):
    """Of the sidecar, of its inbound port, of the upstream. With an identity, `strict` is the default of a port."""
    who = SERVICE if hop.side == "inbound" else CALLER
    upstream = f'tls: {{mode: mutual, peerIdentities: ["{spiffe(SERVICE)}"]}}\n'
    return f"identity: {{certDir: {hop.certificates}/{who}}}\n", ", tls: strict", upstream


def haproxy(hop):
    """Of `bind`, of `server`. It checks DNS names; for the caller's any that the authority issued will do."""
    of = lambda name: f" ssl crt {hop.certificates}/{name}/both.pem ca-file {hop.certificates}/{name}/ca.crt " \
        f"verify required ssl-min-ver TLSv1.3 alpn {'h2' if hop.inside == 'http2' else 'http/1.1'}"
    if hop.side == "inbound":
        return of(SERVICE), ""
    return "", f"{of(CALLER)} sni str({SERVICE}.{DOMAIN}) verifyhost {SERVICE}.{DOMAIN}"


def envoy(hop, config):
    """Completes a configuration on the side that faces the other proxy."""
    static = config["static_resources"]
    inbound = hop.side == "inbound"
    who, peer, side = (SERVICE, CALLER, "Downstream") if inbound else (CALLER, SERVICE, "Upstream")
    file = lambda name: {"filename": f"{hop.certificates}/{who}/{name}"}
    context = {
        "@type": f"type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.{side}TlsContext",
        "common_tls_context": {
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
            "tls_certificates": [{"certificate_chain": file("tls.crt"), "private_key": file("tls.key")}],
            "validation_context": {"trusted_ca": file("ca.crt"), "match_typed_subject_alt_names": [
                {"san_type": "URI", "matcher": {"exact": spiffe(peer)}}]},
            "alpn_protocols": ["h2" if hop.inside == "http2" else "http/1.1"],
        },
        **({"require_client_certificate": True} if inbound else {"sni": f"{SERVICE}.{DOMAIN}"}),
    }
    place = static["listeners"][0]["filter_chains"][0] if inbound else static["clusters"][0]
    place["transport_socket"] = {"name": "tls", "typed_config": context}
