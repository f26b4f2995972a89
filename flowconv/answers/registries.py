"""What numbers and addresses mean, as IANA and AWS register them."""

from collections.abc import Mapping
from types import MappingProxyType

# https://www.iana.org/assignments/protocol-numbers: the keywords of 0, 1, 2 and so on; `-` is none.
_KEYWORDS = """
HOPOPT ICMP IGMP GGP IPv4 ST TCP CBT EGP IGP
BBN-RCC-MON NVP-II PUP ARGUS EMCON XNET CHAOS UDP MUX DCN-MEAS
HMP PRM XNS-IDP TRUNK-1 TRUNK-2 LEAF-1 LEAF-2 RDP IRTP ISO-TP4
NETBLT MFE-NSP MERIT-INP DCCP 3PC IDPR XTP DDP IDPR-CMTP TP++
IL IPv6 SDRP IPv6-Route IPv6-Frag IDRP RSVP GRE DSR BNA
ESP AH I-NLSP SWIPE NARP MOBILE TLSP SKIP IPv6-ICMP IPv6-NoNxt
IPv6-Opts - CFTP - SAT-EXPAK KRYPTOLAN RVD IPPC - SAT-MON
VISA IPCV CPNX CPHB WSN PVP BR-SAT-MON SUN-ND WB-MON WB-EXPAK
ISO-IP VMTP SECURE-VMTP VINES IPTM NSFNET-IGP DGP TCF EIGRP OSPFIGP
Sprite-RPC LARP MTP AX.25 IPIP MICP SCC-SP ETHERIP ENCAP -
GMTP IFMP PNNI PIM ARIS SCPS QNX A/N IPComp SNP
Compaq-Peer IPX-in-IP VRRP PGM - L2TP DDX IATP STP SRP
UTI SMP SM PTP ISIS FIRE CRTP CRUDP SSCOPMCE IPLT
SPS PIPE SCTP FC RSVP-E2E-IGNORE Mobility-Header UDPLite MPLS-in-IP manet HIP
Shim6 WESP ROHC Ethernet AGGFRAG NSH
"""
PROTOCOLS: Mapping[int, str] = MappingProxyType(
    {number: name for number, name in enumerate(_KEYWORDS.split()) if name != "-"}
)

# https://www.iana.org/assignments/tcp-parameters, "TCP Header Flags".
TCP_FLAGS: Mapping[int, str] = MappingProxyType(
    {
        1: "FIN",
        2: "SYN",
        4: "RST",
        8: "PSH",
        16: "ACK",
        32: "URG",
        64: "ECE",
        128: "CWR",
        256: "AE",
    }
)

# https://docs.aws.amazon.com/vpc/latest/userguide/flow-log-records.html, "traffic-path".
TRAFFIC_PATHS: Mapping[int, str] = MappingProxyType(
    {
        1: "same VPC",
        2: "internet gateway or gateway endpoint",
        3: "virtual private gateway",
        4: "peering within the region",
        5: "peering between regions",
        6: "local gateway",
        7: "gateway endpoint",  # of Nitro instances
        8: "internet gateway",  # of Nitro instances
    }
)

# https://www.iana.org/assignments/service-names-port-numbers: services that flow logs often show,
# if TCP and UDP name the port alike or only one of them is used.
SERVICES: Mapping[int, str] = MappingProxyType(
    {
        7: "echo",
        9: "discard",
        13: "daytime",
        19: "chargen",
        20: "ftp-data",
        21: "ftp",
        22: "ssh",
        23: "telnet",
        25: "smtp",
        37: "time",
        43: "nicname",
        49: "tacacs",
        53: "domain",
        67: "bootps",
        68: "bootpc",
        69: "tftp",
        79: "finger",
        80: "http",
        88: "kerberos",
        110: "pop3",
        111: "sunrpc",
        113: "auth",
        119: "nntp",
        123: "ntp",
        135: "epmap",
        137: "netbios-ns",
        138: "netbios-dgm",
        139: "netbios-ssn",
        143: "imap",
        161: "snmp",
        162: "snmptrap",
        179: "bgp",
        389: "ldap",
        427: "svrloc",
        443: "https",
        445: "microsoft-ds",
        464: "kpasswd",
        465: "submissions",
        500: "isakmp",
        515: "printer",
        543: "klogin",
        546: "dhcpv6-client",
        547: "dhcpv6-server",
        548: "afpovertcp",
        554: "rtsp",
        587: "submission",
        623: "asf-rmcp",
        631: "ipp",
        636: "ldaps",
        646: "ldp",
        853: "domain-s",
        873: "rsync",
        989: "ftps-data",
        990: "ftps",
        993: "imaps",
        995: "pop3s",
        1080: "socks",
        1194: "openvpn",
        1433: "ms-sql-s",
        1434: "ms-sql-m",
        1701: "l2tp",
        1723: "pptp",
        1812: "radius",
        1813: "radius-acct",
        1883: "mqtt",
        1900: "ssdp",
        2049: "nfs",
        2375: "docker",
        2376: "docker-s",
        2379: "etcd-client",
        2380: "etcd-server",
        3260: "iscsi-target",
        3268: "msft-gc",
        3269: "msft-gc-ssl",
        3306: "mysql",
        3389: "ms-wbt-server",
        3478: "stun",
        4369: "epmd",
        4500: "ipsec-nat-t",
        4789: "vxlan",
        5060: "sip",
        5061: "sips",
        5222: "xmpp-client",
        5353: "mdns",
        5432: "postgresql",
        5671: "amqps",
        5672: "amqp",
        5900: "rfb",
        5985: "wsman",
        5986: "wsmans",
        6081: "geneve",
        6379: "redis",
        6514: "syslog-tls",
        8080: "http-alt",
        8883: "secure-mqtt",
        9418: "git",
        11211: "memcache",
        27017: "mongodb",
    }
)

# What listens on ports for which IANA has another name, or none.
SERVICES_IN_USE: Mapping[int, str] = MappingProxyType(
    {
        1521: "oracle",
        2181: "zookeeper",
        3128: "squid",
        5439: "redshift",
        8443: "https-alt",
        9042: "cassandra",
        9092: "kafka",
        9200: "elasticsearch",
    }
)

# https://www.iana.org/assignments/iana-ipv4-special-registry and iana-ipv6-special-registry:
# what is not globally reachable. 6to4 (2002::/16), of which they do not say, is among it.
PRIVATE_NETWORKS = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "240.0.0.0/4",
    "::/128",
    "::1/128",
    "::ffff:0:0/96",
    "64:ff9b:1::/48",
    "100::/64",
    "100:0:0:1::/64",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
)

# What the same registries say to be globally reachable within these.
PUBLIC_WITHIN_PRIVATE = (
    "192.0.0.9/32",
    "192.0.0.10/32",
    "2001:1::1/128",
    "2001:1::2/128",
    "2001:1::3/128",
    "2001:3::/32",
    "2001:4:112::/48",
    "2001:20::/28",
    "2001:30::/28",
)
