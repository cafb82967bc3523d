# SPDX-License-Identifier: BSD-2-Clause
# Run by tools/mkguest inside the new system, with /bin/sh -eu: which units start. An emulated machine pays for each.
# In the environment: PASSWORD, empty for a console that asks for none.
export DEBIAN_FRONTEND=noninteractive

systemctl -q disable ssh.service
systemctl -q enable ssh.socket nginx.service console-getty.service systemd-networkd.service \
	systemd-network-generator.service
systemctl -q disable systemd-networkd-wait-online.service e2scrub_reap.service
systemctl -q set-default multi-user.target

# The console is /dev/console's getty, whatever `console=` names.
mkdir -p /etc/systemd/system-generators
for g in bless-boot cryptsetup getty gpt-auto hibernate-resume integritysetup rc-local system-update sysv veritysetup; do
	ln -sf /dev/null "/etc/systemd/system-generators/systemd-$g-generator"
done

systemctl -q mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
	fstrim.timer man-db.timer systemd-tmpfiles-clean.timer \
	dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount \
	sys-kernel-config.mount sys-fs-fuse-connections.mount proc-sys-fs-binfmt_misc.automount \
	kmod-static-nodes.service modprobe@.service systemd-modules-load.service systemd-sysctl.service systemd-sysusers.service \
	systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-user-sessions.service \
	systemd-random-seed.service systemd-journal-flush.service \
	systemd-ask-password-wall.path systemd-ask-password-console.path systemd-pstore.service \
	systemd-boot-system-token.service systemd-pcrphase.service systemd-pcrphase-sysinit.service systemd-pcrphase-initrd.service \
	getty-static.service getty@tty1.service

# Not what the building machine has. Packages that care (systemd-resolved) put their own in its place.
rm -f /etc/resolv.conf
echo '# QEMU'\''s user network answers here; any other: write its name server.
nameserver 10.0.2.3' >/etc/resolv.conf

# What must differ from one machine to the next is made there. Empty, not absent: no "first boot" with all presets.
: >/etc/machine-id
rm -f /etc/ssh/ssh_host_* /var/lib/dbus/machine-id /var/lib/systemd/random-seed

if [ -n "$PASSWORD" ]; then
	printf 'root:%s\n' "$PASSWORD" | chpasswd
	rm -r /etc/systemd/system/console-getty.service.d
fi

rm -rf /var/log/*.log /var/log/apt /var/cache/debconf/*-old /var/lib/dpkg/*-old /var/cache/ldconfig/aux-cache
