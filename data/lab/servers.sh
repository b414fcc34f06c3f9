# shellcheck shell=bash
# servers.sh: the servers, all in namespace srv, each on the address of its label.  Sourced by record.sh.

# HLS, DASH and downloads over HTTP/1.1 with TLS; pages over HTTP/2; JSON over HTTP/1.1 on 8443
write_nginx_conf() {
  local w=$WORK/www
  cat >"$WORK/nginx.conf" <<CONF
daemon off;
user root;
worker_processes 1;
pid $WORK/nginx.pid;
events { worker_connections 1024; }
http {
  access_log off;
  keepalive_timeout 30;
  types {
    text/html html; text/css css; application/javascript js; image/png png; application/json json;
    application/vnd.apple.mpegurl m3u8; video/mp2t ts; application/dash+xml mpd; video/mp4 mp4;
  }
  client_body_temp_path $WORK/tmp; proxy_temp_path $WORK/tmp; fastcgi_temp_path $WORK/tmp;
  uwsgi_temp_path $WORK/tmp; scgi_temp_path $WORK/tmp;
  ssl_certificate $WORK/keys/tls.pem;
  ssl_certificate_key $WORK/keys/tls.key;

  server { listen ${SERVER[hls]}:443 ssl; root $w/hls; }
  server { listen ${SERVER[dash]}:443 ssl; root $w/dash; }
  server {
    listen ${SERVER[download]}:443 ssl;
    root $w/download;
    location /60.bin  { limit_rate 40k;  limit_rate_after 16k; }
    location /90.bin  { limit_rate 50k;  limit_rate_after 32k; }
    location /130.bin { limit_rate 60k;  limit_rate_after 32k; }
    location /180.bin { limit_rate 100k; limit_rate_after 64k; }
    location /240.bin { limit_rate 150k; limit_rate_after 64k; }
  }
  server { listen ${SERVER[web]}:443 ssl http2; root $w/web; }
  server {
    listen ${SERVER[api]}:8443 ssl;
    root $w/api;
    location /orders { default_type application/json; return 201 '{"order":"\$request_id","state":"accepted"}'; }
  }
}
CONF
}

write_mosquitto_conf() {
  cat >"$WORK/mosquitto.conf" <<CONF
user root
allow_anonymous true
listener 1883 ${SERVER[chat]}
listener 8883 ${SERVER[chat]}
certfile $WORK/keys/tls.pem
keyfile $WORK/keys/tls.key
CONF
}

write_sshd_conf() {
  cp "$WORK/keys/user.pub" "$WORK/keys/authorized"
  cat >"$WORK/sshd.conf" <<CONF
ListenAddress ${SERVER[ssh]}:22
HostKey $WORK/keys/host
AuthorizedKeysFile $WORK/keys/authorized
StrictModes no
PermitRootLogin prohibit-password
PasswordAuthentication no
UsePAM no
PrintMotd no
PrintLastLog no
PidFile none
MaxStartups 50
CONF
}

serve() { local name=$1; shift; in_ns srv "$@" </dev/null >"$WORK/log/$name" 2>&1 & }

servers_up() {
  write_nginx_conf
  write_mosquitto_conf
  write_sshd_conf
  mkdir -p /run/sshd # sshd insists on it
  serve nginx nginx -c "$WORK/nginx.conf" -e "$WORK/log/nginx.err"
  serve mosquitto mosquitto -c "$WORK/mosquitto.conf"
  serve sshd /usr/sbin/sshd -D -e -f "$WORK/sshd.conf"
  serve dnsmasq dnsmasq -k --conf-file=/dev/null --no-resolv --no-hosts --bind-interfaces --user=root --pid-file= \
    --listen-address="${SERVER[dns]}" --address=/example.com/192.0.2.30 --address=/example.net/192.0.2.10 \
    --local=/example.com/ --local=/example.net/ --mx-host=example.com,mail.example.com,10 --txt-record=example.com,"v=spf1 ip4:192.0.2.0/24 -all"
  # the other end of the SIP calls: answers, and echoes the audio that comes to port 5040
  serve sipp env -C "$WORK/tmp" sipp -sn uas -rtp_echo -i "${SERVER[voip]}" -p 5060 -mi "${SERVER[voip]}" -mp 5040 \
    -nostdin
  wait_for 15 servers_ready || die "the servers did not start; see $WORK/log"
}

servers_ready() {
  local tcp udp want
  tcp=$(in_ns srv ss -Hltn)
  udp=$(in_ns srv ss -Hlun)
  for want in "${SERVER[hls]}:443" "${SERVER[web]}:443" "${SERVER[api]}:8443" "${SERVER[chat]}:8883" \
    "${SERVER[ssh]}:22"; do
    [[ $tcp == *"$want "* ]] || return 1
  done
  for want in "${SERVER[dns]}:53" "${SERVER[voip]}:5060" "${SERVER[voip]}:5040"; do
    [[ $udp == *"$want "* ]] || return 1
  done
}
